//! The boot arguments, each handed to the part that knows it. The table in the README lists them all.

use super::crash::Ending;
use super::subsystems::Placement;
use crate::app::Application;
use crate::diagnosis::incidents::IncidentPolicy;
use crate::diagnosis::remediation_recommendations::Level;
use crate::error::Result;
use crate::net::config::StackConfig;
use crate::net::http::AdminToken;
use crate::platform::boot_arguments::{bad_value, parse, unknown};
use crate::platform::console;
use crate::platform::time::Duration;

/// CPU time without coming back to its executor after which a subsystem counts as hanging. LCS of two long values
/// takes a few hundred milliseconds here (a guess for slower machines).
const HANG_LIMIT: Duration = Duration::from_secs(5);
/// Restarts that one group of subsystems bears in five seconds: OTP's default is one, for trees of thousands of
/// processes. Here a group is the whole of what a user sees, and a restart takes milliseconds.
const RESTARTS: u16 = 20;
/// Time between two health checks of one subsystem: a scrape's default interval is longer, and an idle image may execute
/// some thousand instructions a second.
const HEALTH_INTERVAL: Duration = Duration::from_secs(10);
/// Port of the metrics endpoint.
const HTTP_PORT: u16 = 9100;

/// What the boot arguments ask of the kernel and the network.
pub(super) struct Settings {
    pub(super) ending: Ending,
    pub(super) http_port: u16,
    pub(super) admin_token: AdminToken,
    pub(super) unix_seconds: Option<u64>,
    pub(super) network: StackConfig,
    pub(super) placement: Placement,
    pub(super) hang_limit: Duration,
    pub(super) restarts: u16,
    pub(super) health_interval: Duration,
    /// What is to fail on purpose.
    pub(super) faults: Option<&'static str>,
    /// What is on the disk is given up.
    pub(super) may_format_disk: bool,
    pub(super) remedies: Level,
    pub(super) incidents: IncidentPolicy,
}

/// Whether what is on the disk is given up.
fn gives_up_disk(key: &str, value: &str) -> Result<bool> {
    match value {
        "use" => Ok(false),
        "format" => Ok(true),
        _ => Err(bad_value(key, "use or format")),
    }
}

impl Settings {
    /// Reads all arguments; one that is unknown or has a bad value is a logged error, and the rest holds.
    pub(super) fn read(arguments: &'static str, application: &mut dyn Application) -> Self {
        let mut settings = Self {
            ending: Ending::Halt,
            http_port: HTTP_PORT,
            admin_token: AdminToken::NONE,
            unix_seconds: None,
            network: StackConfig::default(),
            placement: Placement::default(),
            hang_limit: HANG_LIMIT,
            restarts: RESTARTS,
            health_interval: HEALTH_INTERVAL,
            faults: None,
            may_format_disk: false,
            remedies: Level::Safe,
            incidents: IncidentPolicy::DEFAULT,
        };
        log::set_max_level(log::LevelFilter::Info);
        for (key, value) in parse(arguments) {
            let outcome = settings
                .set(key, value)
                .or_else(|| settings.network.set(key, value))
                .or_else(|| application.configure(key, value))
                .unwrap_or_else(|| Err(unknown(key)));
            if let Err(error) = outcome {
                log::error!("boot argument nos.{key}: {error}");
            }
        }
        settings
    }

    fn set(&mut self, key: &str, value: &'static str) -> Option<Result<()>> {
        Some(match key {
            "log" => console::set_level(value),
            "on-panic" => Ending::from_word(value).map(|ending| self.ending = ending),
            "http-port" => match value.parse() {
                Ok(port) if port > 0 => {
                    self.http_port = port;
                    Ok(())
                }
                _ => Err(bad_value(key, "a port from 1 to 65535")),
            },
            "admin-token" => AdminToken::new(key, value).map(|token| self.admin_token = token),
            "place" => Placement::parse(key, value).map(|placement| self.placement = placement),
            "hang-ms" => match value.parse() {
                Ok(millis) if millis > 0 => {
                    self.hang_limit = Duration::from_millis(millis);
                    Ok(())
                }
                _ => Err(bad_value(key, "milliseconds, at least 1")),
            },
            "restarts" => match value.parse() {
                Ok(restarts) => {
                    self.restarts = restarts;
                    Ok(())
                }
                Err(_) => Err(bad_value(key, "restarts, at most 65535")),
            },
            "health-ms" => match value.parse() {
                Ok(millis) if millis > 0 => {
                    self.health_interval = Duration::from_millis(millis);
                    Ok(())
                }
                _ => Err(bad_value(key, "milliseconds, at least 1")),
            },
            // Its points are not there yet.
            "faults" => {
                self.faults = Some(value);
                Ok(())
            }
            "disk" => gives_up_disk(key, value).map(|gives_up| self.may_format_disk = gives_up),
            "quiet-ms" => match value.parse() {
                Ok(millis) if millis > 0 => {
                    self.incidents.quiet = Duration::from_millis(millis);
                    Ok(())
                }
                _ => Err(bad_value(key, "milliseconds, at least 1")),
            },
            "remedies" => match Level::of_name(value) {
                Some(level) => {
                    self.remedies = level;
                    Ok(())
                }
                None => Err(bad_value(key, "advise, safe or all")),
            },
            "time" => match value.parse() {
                Ok(seconds) => {
                    self.unix_seconds = Some(seconds);
                    Ok(())
                }
                Err(_) => Err(bad_value(key, "seconds since the Unix epoch")),
            },
            _ => return None,
        })
    }
}
