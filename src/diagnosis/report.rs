//! The report of `GET /diagnosis`: what is wrong now, what was, and what every detector makes of things.
//!
//! ```json
//! {"status":"symptoms",
//!  "symptoms":[{"id":1,"detector":"free_memory_ratio","state":"raised","raised_seconds":12.5,
//!    "evidence":{"ratio":0.021,"raise_below":0.03,"clear_above":0.06,"at_seconds":12.5,
//!                "free_bytes":1376256,"total_bytes":65536000},
//!    "worst":{…}}],
//!  "past":[{…,"state":"cleared","cleared_seconds":40.1,"cleared_on":{…}}],
//!  "raised_total":2,
//!  "detectors":[{"detector":"page_cache_hit_ratio","about":"…","state":"clear","raise_below":0.5,
//!    "clear_above":0.7,"last":{…,"hits":250,"misses":12,"window_seconds":1.2}},…],
//!  "incidents":{…}}
//! ```
//!
//! Times are seconds since reset, as in the log. Names only get added.

use super::fault_detection::FaultDetection;
use super::symptom::{Detector, Evidence, Observation, Ratio, Symptom, Threshold};
use crate::metrics::{Json, Value};
use crate::platform::time::Instant;

impl FaultDetection {
    /// Writes the report as one JSON object, with further members that `more` writes.
    pub fn report(&self, json: &mut Json<'_>, more: impl FnOnce(&mut Json<'_>)) {
        json.object(|json| {
            let is_healthy = self.open().next().is_none();
            json.member("status")
                .text(if is_healthy { "healthy" } else { "symptoms" });
            json.member("symptoms")
                .array(|json| self.open().for_each(|open| write_symptom(open, json)));
            json.member("past")
                .array(|json| self.past().for_each(|past| write_symptom(past, json)));
            json.member("raised_total")
                .number(Value::Whole(self.raised_total()));
            json.member("detectors").array(|json| {
                for detector in Detector::ALL {
                    json.object(|json| self.write_detector(detector, json));
                }
            });
            more(json);
        });
    }

    fn write_detector(&self, detector: Detector, json: &mut Json<'_>) {
        let watch = self.watch(detector);
        json.member("detector").text(detector.name());
        json.member("about").text(detector.about());
        json.member("state").text(match (watch.open, watch.latest) {
            (Some(_), _) => "raised",
            (None, Some(_)) => "clear",
            (None, None) => "waiting",
        });
        write_threshold(self.policy().threshold(detector), json);
        if detector == Detector::PageCacheHitRatio {
            json.member("requests_min")
                .number(Value::Whole(self.policy().page_requests_min));
        }
        json.member("last");
        match &watch.latest {
            Some(evidence) => write_evidence(evidence, json),
            None => json.null(),
        }
    }
}

fn write_symptom(symptom: &Symptom, json: &mut Json<'_>) {
    json.object(|json| {
        json.member("id").number(Value::Whole(symptom.number));
        json.member("detector").text(symptom.detector.name());
        json.member("state").text(if symptom.cleared.is_none() {
            "raised"
        } else {
            "cleared"
        });
        write_time("raised_seconds", symptom.raised.at, json);
        if let Some(cleared) = &symptom.cleared {
            write_time("cleared_seconds", cleared.at, json);
        }
        write_evidence(&symptom.raised, json.member("evidence"));
        write_evidence(&symptom.worst, json.member("worst"));
        if let Some(cleared) = &symptom.cleared {
            write_evidence(cleared, json.member("cleared_on"));
        }
    });
}

fn write_evidence(evidence: &Evidence, json: &mut Json<'_>) {
    json.object(|json| {
        write_ratio("ratio", evidence.observation.ratio(), json);
        write_threshold(evidence.threshold, json);
        write_time("at_seconds", evidence.at, json);
        match evidence.observation {
            Observation::PageRequests {
                hits,
                misses,
                window,
            } => {
                json.member("hits").number(Value::Whole(hits));
                json.member("misses").number(Value::Whole(misses));
                json.member("window_seconds")
                    .number(Value::Nanos(window.as_nanos()));
            }
            Observation::Memory {
                free_bytes,
                total_bytes,
            } => {
                json.member("free_bytes").number(Value::Whole(free_bytes));
                json.member("total_bytes").number(Value::Whole(total_bytes));
            }
        }
    });
}

fn write_threshold(threshold: Threshold, json: &mut Json<'_>) {
    write_ratio("raise_below", threshold.raise_below, json);
    write_ratio("clear_above", threshold.clear_above, json);
}

pub(super) fn write_ratio(name: &str, ratio: Ratio, json: &mut Json<'_>) {
    json.member(name)
        .number(Value::Millionths(u64::from(ratio.as_millionths())));
}

fn write_time(name: &str, time: Instant, json: &mut Json<'_>) {
    json.member(name).number(Value::Nanos(time.as_nanos()));
}

#[cfg(test)]
mod tests {
    use super::super::{DetectionPolicy, MemorySample};
    use super::*;
    use alloc::vec::Vec;
    use std::string::String;

    fn report(detection: &FaultDetection) -> String {
        let mut page = Vec::new();
        let mut json = Json::new(&mut page);
        detection.report(&mut json, |_| {});
        json.finish().expect("the host has memory");
        String::from_utf8(page).expect("JSON is text")
    }

    fn sample(hits: u64, misses: u64, free_bytes: u64) -> MemorySample {
        MemorySample {
            hits,
            misses,
            free_bytes,
            total_bytes: 1000,
        }
    }

    #[test]
    fn before_the_first_sample_the_image_is_healthy_and_the_detectors_wait() {
        let text = report(&FaultDetection::new(DetectionPolicy::DEFAULT));
        let start = "{\"status\":\"healthy\",\"symptoms\":[],\"past\":[],\"raised_total\":0,\"detectors\":[{";
        assert!(text.starts_with(start), "{text}");
        assert_eq!(
            text.matches("\"state\":\"waiting\"").count(),
            Detector::ALL.len()
        );
    }

    #[test]
    fn a_symptom_is_shown_with_the_evidence_behind_it() {
        let mut detection = FaultDetection::new(DetectionPolicy::DEFAULT);
        detection.observe(&sample(0, 0, 500), Instant::from_nanos(1_000_000_000));
        detection.observe(&sample(100, 300, 500), Instant::from_nanos(3_500_000_000));
        let text = report(&detection);
        let symptom = "\"symptoms\":[{\"id\":1,\"detector\":\"page_cache_hit_ratio\",\"state\":\"raised\",\
                       \"raised_seconds\":3.5,\"evidence\":{\"ratio\":0.25,\"raise_below\":0.5,\
                       \"clear_above\":0.7,\"at_seconds\":3.5,\"hits\":100,\"misses\":300,\
                       \"window_seconds\":2.5},\"worst\":{";
        assert!(text.starts_with("{\"status\":\"symptoms\","), "{text}");
        assert!(text.contains(symptom), "{text}");
        assert!(
            text.contains("\"free_bytes\":500,\"total_bytes\":1000"),
            "{text}"
        );
    }

    #[test]
    fn a_cleared_symptom_moves_to_the_past_with_what_cleared_it() {
        let mut detection = FaultDetection::new(DetectionPolicy::DEFAULT);
        detection.observe(&sample(0, 0, 10), Instant::from_nanos(1_000_000_000));
        detection.observe(&sample(0, 0, 900), Instant::from_nanos(2_000_000_000));
        let text = report(&detection);
        assert!(
            text.starts_with("{\"status\":\"healthy\",\"symptoms\":[],\"past\":[{\"id\":1,"),
            "{text}"
        );
        assert!(
            text.contains("\"state\":\"cleared\",\"raised_seconds\":1,\"cleared_seconds\":2,"),
            "{text}"
        );
        assert!(text.contains("\"cleared_on\":{\"ratio\":0.9,"), "{text}");
    }
}
