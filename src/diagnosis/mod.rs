//! The diagnosis engine: detection, then root cause, then remedies.
//!
//! It is a pipeline of values. What parts show of themselves is sampled into plain values; detectors turn
//! samples into [`Symptom`]s with the [`Evidence`] they were raised on; [`report`](FaultDetection::report)
//! shows them. Each step depends on its input and the time it is given, and on nothing else, so a recorded
//! run can be diagnosed again anywhere.
//!
//! What is seen within a window of time is an [`Incident`](root_cause_analysis::Incident); its
//! [`Diagnosis`](root_cause_analysis::Diagnosis) ranks causes; [`recommend`](remediation_recommendations::recommend)
//! says what is to be done; [`Incidents`](incidents::Incidents) opens them, acts, and remembers. [`watch`] raises symptoms by
//! samples; deaths, pressure and health checks are told by the supervisor.
//!
//! It knows of the parts it watches only the samples it is handed; `kernel` takes them and publishes the report.
//! [`detectors`] is the kit that detection is built from: what judges one series of values by its past.
//! Beside it stand `crash_record`, what a life of the image tells the next of how it ended, `symbols` and `lines`, which name the
//! functions, files and lines that a report is about, and `symbol_cache`, which keeps what they said.

#[cfg(feature = "crash-report")]
pub mod crash_record;
pub mod detectors;
mod fault_detection;
pub mod incidents;
pub mod lines;
mod quantile;
pub mod remediation_recommendations;
mod report;
pub mod root_cause_analysis;
pub mod symbol_cache;
pub mod symbols;
mod symptom;
pub mod watch;

pub use fault_detection::{DetectionPolicy, FaultDetection, MemorySample};
pub use symptom::{Detector, Evidence, Observation, Ratio, Symptom, Threshold};
