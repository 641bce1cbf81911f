//! What the server counts: requests by route and status, their durations, and what it refused.
//!
//! Always true: every reply is counted once, under its route if it has one (but for want of the admin token,
//! which no handler sees: those stand under `other`) and under `other` if not; the
//! series are the same from the first scrape to the last, but for those of 409, which few routes can answer: they come with
//! the first one.

use super::response::Status;
use crate::error::{Error, Grow, Kind, Result, Subsystem};
use crate::metrics::{Counter, Encoder, Histogram, Label, Source, Value, Vitals, heading};
use alloc::vec::Vec;

/// The statuses a routed request can end with; any other that a handler's error has counts as the last.
const ROUTE_STATUSES: [Status; 7] = [
    Status::Ok,
    Status::BadRequest,
    Status::NotFound,
    Status::MethodNotAllowed,
    Status::Conflict,
    Status::Unavailable,
    Status::InternalError,
];

/// The statuses of replies that belong to no route: all but those that only a handler gives.
const OTHER_STATUSES: [Status; 12] = [
    Status::Ok,
    Status::BadRequest,
    Status::Unauthorized,
    Status::Forbidden,
    Status::NotFound,
    Status::RequestTimeout,
    Status::ContentTooLarge,
    Status::UriTooLong,
    Status::FieldsTooLarge,
    Status::NotImplemented,
    Status::VersionNotSupported,
    Status::Unavailable,
];

/// Why a request was refused before it reached a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejection {
    /// Its admin token is missing or wrong.
    Auth,
    /// There are too many connections.
    Rate,
    /// It does not follow the protocol.
    Malformed,
    /// It is beyond a limit on its size.
    TooLarge,
}

impl Rejection {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Auth, "auth"),
        (Self::Rate, "rate"),
        (Self::Malformed, "malformed"),
        (Self::TooLarge, "too_large"),
    ];

    /// The reason for a reply with that status, if it is a refusal.
    pub(super) fn of(status: Status) -> Option<Self> {
        match status {
            Status::Unauthorized | Status::Forbidden => Some(Self::Auth),
            Status::Unavailable => Some(Self::Rate),
            Status::BadRequest | Status::NotImplemented | Status::VersionNotSupported => {
                Some(Self::Malformed)
            }
            Status::ContentTooLarge | Status::UriTooLong | Status::FieldsTooLarge => {
                Some(Self::TooLarge)
            }
            _ => None,
        }
    }
}

/// The counters of one server.
#[derive(Debug)]
pub struct HttpCounters {
    routes: Vec<RouteCounters>,
    other: [Counter; OTHER_STATUSES.len()],
    duration: Histogram,
    rejected: [Counter; Rejection::ALL.len()],
}

#[derive(Debug)]
struct RouteCounters {
    path: &'static str,
    by_status: [Counter; ROUTE_STATUSES.len()],
}

impl HttpCounters {
    /// Counters for a server with routes of those paths, in that order.
    ///
    /// # Errors
    /// `OutOfMemory`; `Duplicate` if a path is there twice.
    pub fn new(paths: &[&'static str]) -> Result<Self> {
        let mut routes: Vec<RouteCounters> = Vec::new();
        routes.try_reserve_exact(paths.len())?;
        for &path in paths {
            if routes.iter().any(|route| route.path == path) {
                return Err(Error::new(Subsystem::Http, Kind::Duplicate { name: path }));
            }
            routes.push_reserved(RouteCounters {
                path,
                by_status: Default::default(),
            });
        }
        Ok(Self {
            routes,
            other: Default::default(),
            duration: Histogram::new(),
            rejected: Default::default(),
        })
    }

    /// True if these are the counters for routes of those paths, in that order.
    pub(super) fn are_for<'a>(&self, paths: impl Iterator<Item = &'a str>) -> bool {
        self.routes.iter().map(|route| route.path).eq(paths)
    }

    /// Counts the reply to a request of the route at that index.
    pub(super) fn count_routed(&self, route: usize, status: Status) {
        let last = ROUTE_STATUSES.len() - 1;
        let index = ROUTE_STATUSES
            .iter()
            .position(|&listed| listed == status)
            .unwrap_or(last);
        self.routes[route].by_status[index].increment();
    }

    /// Counts a reply that belongs to no route.
    pub(super) fn count_other(&self, status: Status) {
        let last = OTHER_STATUSES.len() - 1;
        let index = OTHER_STATUSES
            .iter()
            .position(|&listed| listed == status)
            .unwrap_or(last);
        self.other[index].increment();
    }

    /// Counts a refusal.
    pub(super) fn count_rejected(&self, rejection: Rejection) {
        self.rejected[rejection as usize].increment();
    }

    /// Counts how long a request took, from its first byte to the last of its reply.
    pub(super) fn observe(&self, nanos: u64) {
        self.duration.observe_nanos(nanos);
    }
}

impl Source for HttpCounters {
    fn vitals(&self, vitals: &mut Vitals) {
        vitals.http_requests = self.duration.buckets().iter().sum();
        vitals.http_rejections = self.rejected.iter().map(Counter::get).sum();
    }

    fn collect(&self, page: &mut Encoder<'_>) {
        let mut family = page.family(heading!(
            Counter,
            "nos_http_requests_total",
            "HTTP requests answered, by route and status."
        ));
        let routes = self
            .routes
            .iter()
            .map(|route| (route.path, &ROUTE_STATUSES[..], &route.by_status[..]));
        let other = ("other", &OTHER_STATUSES[..], &self.other[..]);
        for (path, statuses, counters) in routes.chain([other]) {
            for (status, counter) in statuses.iter().zip(counters) {
                if *status == Status::Conflict && counter.get() == 0 {
                    continue;
                }
                family.sample(
                    &[
                        ("path", Label::Word(path)),
                        ("code", Label::Word(status.code())),
                    ],
                    Value::Whole(counter.get()),
                );
            }
        }
        page.histogram(
            heading!(
                Histogram,
                "nos_http_request_duration_seconds",
                "Time from the first byte of an HTTP request to the last of its reply."
            ),
            &self.duration,
        );
        let mut family = page.family(heading!(
            Counter,
            "nos_http_rejected_total",
            "HTTP requests refused before they reached a handler."
        ));
        for ((_, reason), counter) in Rejection::ALL.iter().zip(&self.rejected) {
            family.sample(
                &[("reason", Label::Word(reason))],
                Value::Whole(counter.get()),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Format;
    use std::string::String;

    #[test]
    fn every_series_is_shown_at_zero_and_keeps_its_place() {
        let counters = HttpCounters::new(&["/", "/metrics"]).expect("room");
        let page = || {
            let mut bytes = Vec::new();
            let mut encoder = Encoder::new(&mut bytes, Format::Text);
            counters.collect(&mut encoder);
            encoder.finish().expect("room");
            String::from_utf8(bytes).expect("text")
        };
        let before = page();
        assert!(before.contains("nos_http_requests_total{path=\"/metrics\",code=\"200\"} 0\n"));
        assert!(before.contains("nos_http_rejected_total{reason=\"too_large\"} 0\n"));
        counters.count_routed(1, Status::Ok);
        counters.count_routed(1, Status::Forbidden);
        counters.count_other(Status::UriTooLong);
        counters.count_rejected(Rejection::TooLarge);
        let after = page();
        for line in [
            "nos_http_requests_total{path=\"/metrics\",code=\"200\"} 1\n",
            "nos_http_requests_total{path=\"/metrics\",code=\"500\"} 1\n",
            "nos_http_requests_total{path=\"other\",code=\"414\"} 1\n",
            "nos_http_rejected_total{reason=\"too_large\"} 1\n",
        ] {
            assert!(after.contains(line), "{line}{after}");
        }
        assert_eq!(before.lines().count(), after.lines().count());
    }

    #[test]
    fn a_path_counted_twice_is_refused() {
        let error = HttpCounters::new(&["/a", "/a"]).expect_err("the same path twice");
        assert_eq!(error.kind(), Kind::Duplicate { name: "/a" });
    }

    #[test]
    fn each_reason_is_listed_at_its_own_index() {
        for (i, (rejection, _)) in Rejection::ALL.into_iter().enumerate() {
            assert_eq!(rejection as usize, i);
        }
    }
}
