//! `/metrics`: families of samples from the status, the log's counters and the serving threads, in
//! the OpenMetrics text format that Prometheus reads. No label holds a query name or a client.

use std::collections::HashSet;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::director::alarm::{self, Severity};
use crate::director::status::Status;

use super::log::Totals;

/// How metrics are written down.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    OpenMetrics,
    /// Prometheus' own, older one, which everybody reads.
    Text,
}

impl Format {
    pub fn media_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Values of plugins that are shown, of all checks together.
const PERFDATA_MAX: usize = 10_000;

/// Every name starts with this and an underscore.
const PREFIX: &str = "nsd_failover";

/// All samples of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// Without prefix and `_total`, with the base unit: `probe_duration_seconds`.
    pub name: &'static str,
    /// One sentence without the final dot.
    pub help: &'static str,
    pub kind: Kind,
    pub samples: Vec<Sample>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    Gauge,
    Counter,
    Histogram,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub labels: Vec<(&'static str, String)>,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Number(f64),
    /// A counter, exact beyond 2^53.
    Count(u64),
    /// `buckets`: upper bound in the base unit and how many fell into it alone, the last one
    /// without a bound (`f64::INFINITY`).
    Histogram {
        sum: f64,
        count: u64,
        buckets: Vec<(f64, u64)>,
    },
}

impl Family {
    pub fn gauge(name: &'static str, help: &'static str) -> Family {
        Family { name, help, kind: Kind::Gauge, samples: Vec::new() }
    }

    pub fn counter(name: &'static str, help: &'static str) -> Family {
        Family { name, help, kind: Kind::Counter, samples: Vec::new() }
    }

    pub fn histogram(name: &'static str, help: &'static str) -> Family {
        Family { name, help, kind: Kind::Histogram, samples: Vec::new() }
    }

    /// Adds a sample.
    pub fn add(&mut self, labels: &[(&'static str, &str)], value: Value) {
        let labels = labels.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        self.samples.push(Sample { labels, value });
    }

    fn number(&mut self, labels: &[(&'static str, &str)], value: f64) {
        self.add(labels, Value::Number(value));
    }
}

/// The families as text.
pub fn encode(families: Vec<Family>, format: Format) -> String {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(Snapshot(families)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("a String takes every write");
    match format {
        Format::OpenMetrics => text,
        Format::Text => to_older(&text),
    }
}

/// The older format describes a counter by the name of its samples, and has no end mark.
fn to_older(text: &str) -> String {
    let counters: HashSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut older = String::with_capacity(text.len());
    for line in text.lines().filter(|line| *line != "# EOF") {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(word), Some(name), Some(rest)) if counters.contains(name) => {
                older.push_str(&format!("# {word} {name}_total {rest}\n"));
            }
            _ => older.extend([line, "\n"]),
        }
    }
    older
}

#[derive(Debug)]
struct Snapshot(Vec<Family>);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for family in &self.0 {
            let kind = match family.kind {
                Kind::Gauge => MetricType::Gauge,
                Kind::Counter => MetricType::Counter,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for sample in &family.samples {
                if sample.labels.is_empty() {
                    sample.value.encode(family.kind, &mut metric)?;
                } else {
                    sample.value.encode(family.kind, &mut metric.encode_family(&sample.labels)?)?;
                }
            }
        }
        Ok(())
    }
}

impl Value {
    fn encode(&self, kind: Kind, metric: &mut MetricEncoder<'_>) -> fmt::Result {
        match (kind, self) {
            (Kind::Counter, Value::Count(count)) => metric.encode_counter::<NoLabelSet, _, u64>(count, None),
            (Kind::Counter, Value::Number(number)) => metric.encode_counter::<NoLabelSet, _, u64>(number, None),
            (Kind::Gauge, Value::Count(count)) => metric.encode_gauge(count),
            (Kind::Gauge, Value::Number(number)) => metric.encode_gauge(number),
            (Kind::Histogram, Value::Histogram { sum, count, buckets }) => {
                metric.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)
            }
            // A value of another kind has no place here; leaving it out shows as a gap.
            _ => Ok(()),
        }
    }
}

/// What the status and the log's counters say.
pub fn of_status(status: &Status, totals: &Totals, now_unix_ms: i64) -> Vec<Family> {
    let mut families = Vec::from(general(status));
    families.extend(roles(status));
    families.extend(alarms(status, now_unix_ms));
    families.extend(probes(status));
    families.push(perfdata(status));
    families.extend(zones(status, totals, now_unix_ms));
    let mut transitions = Family::counter("transitions", "Pools that moved, by the rule that led to it");
    for ((pool, rule), count) in &totals.transitions {
        transitions.add(&[("pool", pool), ("reason", rule)], Value::Count(*count));
    }
    families.push(transitions);
    families
}

fn general(status: &Status) -> [Family; 6] {
    let mut build = Family::gauge("build_info", "The version, as a label");
    build.number(&[("version", &status.version)], 1.0);
    let mut start = Family::gauge("start_time_seconds", "When the process started, in Unix time");
    start.number(&[], seconds(status.started_unix_ms));
    let mut ready = Family::gauge("ready", "1 once the first decision is confirmed by a full round of probes");
    ready.number(&[], bit(status.ready));
    let mut shadow = Family::gauge("shadow", "1 where nothing is published: roles and serials are what would be");
    shadow.number(&[], bit(status.shadow));
    let mut generation = Family::gauge("generation", "Number of the current decision");
    generation.add(&[], Value::Count(status.generation));
    let mut made = Family::gauge("status_timestamp_seconds", "When the daemon last renewed its state, in Unix time");
    made.number(&[], seconds(status.unix_ms));
    [build, start, ready, shadow, generation, made]
}

/// What the page lists under "holds and alarms", counted; and the orders by name.
fn alarms(status: &Status, now_unix_ms: i64) -> [Family; 4] {
    let mut alarms = Family::gauge("alarms", "Alarms that stand, by kind and severity");
    let found = alarm::alarms(status, now_unix_ms);
    for kind in alarm::Kind::ALL {
        for severity in [Severity::Critical, Severity::Warning, Severity::Notice] {
            let count = found.iter().filter(|alarm| (alarm.kind, alarm.severity) == (kind, severity)).count();
            alarms.number(&[("kind", kind.as_str()), ("severity", severity.as_str())], count as f64);
        }
    }
    let mut all_down = Family::gauge("pool_all_down", "1 while no node of the pool is up, or nobody can know");
    let mut held = Family::gauge("pool_held", "1 while an operator holds the pool");
    for pool in &status.pools {
        all_down.number(&[("pool", &pool.name)], bit(alarm::is_all_down(&pool.rule)));
        held.number(&[("pool", &pool.name)], bit(pool.hold.is_some()));
    }
    let mut drained = Family::gauge("node_drained", "1 while an operator keeps the node out of service");
    for node in &status.nodes {
        drained.number(&[("node", &node.name)], bit(node.drain.is_some()));
    }
    [alarms, all_down, held, drained]
}

fn roles(status: &Status) -> [Family; 1] {
    let mut role = Family::gauge("role", "1 for the node that holds the role in the pool and family");
    for pool in &status.pools {
        for family in &pool.families {
            for (word, holder) in [("primary", &family.primary), ("standby", &family.standby)] {
                for node in &pool.order {
                    let labels = [
                        ("pool", pool.name.as_str()),
                        ("node", node),
                        ("family", family.family.as_str()),
                        ("role", word),
                    ];
                    role.number(&labels, bit(holder.as_ref() == Some(node)));
                }
            }
        }
    }
    [role]
}

fn probes(status: &Status) -> [Family; 4] {
    let mut up = Family::gauge("check_up", "The verdict of a check: 1 up, 0 down; absent while unknown");
    let mut success =
        Family::gauge("probe_success", "1 if the last probe was good, 0 if it was bad; absent if it could not say");
    let mut duration = Family::gauge("probe_duration_seconds", "How long the last probe took");
    let mut expiry =
        Family::gauge("cert_expiry_timestamp_seconds", "End of validity of the certificate shown, in Unix time");
    for node in &status.nodes {
        for check in &node.checks {
            let labels =
                [("node", node.name.as_str()), ("check", check.check.as_str()), ("family", check.family.as_str())];
            let verdict = match check.verdict.as_str() {
                "up" => Some(true),
                "down" => Some(false),
                _ => None,
            };
            if let Some(verdict) = verdict {
                up.number(&labels, bit(verdict));
            }
            match check.history.chars().next_back() {
                Some('+') => success.number(&labels, 1.0),
                Some('-') => success.number(&labels, 0.0),
                _ => {}
            }
            if let Some(duration_ms) = check.duration_ms {
                duration.number(&labels, duration_ms as f64 / 1000.0);
            }
            if let Some(unix_s) = check.cert_expiry_unix_s {
                expiry.number(&labels, unix_s as f64);
            }
        }
    }
    [up, success, duration, expiry]
}

/// What plugins measured. Their words become labels, so both their number and their length are
/// bounded: 32 values of 64 characters for each probe (see `probe::exec`), and [`PERFDATA_MAX`].
fn perfdata(status: &Status) -> Family {
    let help = "What a plugin measured with the last probe, in seconds and bytes where it told a time or a size";
    let mut family = Family::gauge("probe_perfdata", help);
    for node in &status.nodes {
        for check in &node.checks {
            let mut told = HashSet::new();
            for measure in &check.measures {
                let Some((value, unit)) = measure.number() else { continue };
                // Two samples of one name would make the whole page unreadable.
                if family.samples.len() == PERFDATA_MAX || !told.insert((&measure.label, unit)) {
                    continue;
                }
                let labels = [
                    ("node", node.name.as_str()),
                    ("check", check.check.as_str()),
                    ("family", check.family.as_str()),
                    ("label", &measure.label),
                    ("unit", unit),
                ];
                family.number(&labels, value);
            }
        }
    }
    family
}

fn zones(status: &Status, totals: &Totals, now_unix_ms: i64) -> [Family; 3] {
    let mut serial = Family::gauge(
        "zone_serial",
        "Serial of the zone, as decided here and as served by nsd, each of its addresses and each secondary",
    );
    let mut age = Family::gauge("export_age_seconds", "Time since nsd was last seen to serve the zone as decided");
    for zone in &status.zones {
        serial.number(&[("zone", &zone.name), ("server", "sidecar")], f64::from(zone.serial));
        if let Some(at_nsd) = zone.serial_at_nsd {
            serial.number(&[("zone", &zone.name), ("server", "nsd")], f64::from(at_nsd));
        }
        for server in &zone.servers {
            if let Some(at_server) = server.serial {
                serial.number(&[("zone", &zone.name), ("server", &server.server)], f64::from(at_server));
            }
        }
        for secondary in &zone.secondaries {
            if let Some(at_secondary) = secondary.serial {
                serial.number(&[("zone", &zone.name), ("server", &secondary.server)], f64::from(at_secondary));
            }
        }
        if let Some(unix_ms) = totals.last_good_export.get(&zone.name) {
            age.number(&[("zone", &zone.name)], seconds(now_unix_ms.saturating_sub(*unix_ms)).max(0.0));
        }
    }
    let mut exports = Family::counter("export", "Exports that ended, by result");
    for ((zone, result), count) in &totals.exports {
        exports.add(&[("zone", zone), ("result", result)], Value::Count(*count));
    }
    [serial, age, exports]
}

fn seconds(unix_ms: i64) -> f64 {
    unix_ms as f64 / 1000.0
}

fn bit(yes: bool) -> f64 {
    if yes { 1.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::director::status::{CheckStatus, NodeStatus};
    use crate::health::check::Measure;
    use crate::health::family;

    /// A plugin may say what it likes: no more than so much of it is shown, each name once, and none
    /// breaks the page.
    #[test]
    fn what_plugins_measured() {
        let measure = |label: &str, value: &str| Measure { label: label.to_owned(), value: value.to_owned() };
        let check = |measures: Vec<Measure>| CheckStatus {
            check: "disk".to_owned(),
            family: family::Family::Ipv4,
            measures,
            ..serde_json::from_str(
                r#"{"check":"","family":"ipv4","verdict":"up","against":0,"needed":0,"word":"","detail":""}"#,
            )
            .unwrap()
        };
        let node = |name: &str, measures| NodeStatus {
            name: name.to_owned(),
            checks: vec![check(measures)],
            ..NodeStatus::default()
        };
        let said =
            vec![measure("time", "250ms"), measure("a \"b\"\n\\", "80%"), measure("time", "3s"), measure("odd", "U")];
        let status = Status { nodes: vec![node("a", said)], ..Status::default() };
        let text = encode(vec![perfdata(&status)], Format::OpenMetrics);
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let labels = "node=\"a\",check=\"disk\",family=\"ipv4\"";
        assert_eq!(
            samples,
            [
                format!("nsd_failover_probe_perfdata{{{labels},label=\"time\",unit=\"s\"}} 0.25"),
                format!("nsd_failover_probe_perfdata{{{labels},label=\"a \\\"b\\\"\\n\\\\\",unit=\"%\"}} 80.0"),
            ]
        );
        let many =
            |at: usize| node(&format!("n{at}"), (0..32).map(|label| measure(&format!("x{label}"), "1")).collect());
        let status = Status { nodes: (0..1_000).map(many).collect(), ..Status::default() };
        assert_eq!(perfdata(&status).samples.len(), PERFDATA_MAX);
    }

    #[test]
    fn the_text_that_prometheus_reads() {
        let mut requests = Family::counter("dns_requests", "Queries");
        requests.add(&[("transport", "u\"dp\n")], Value::Count(u64::MAX));
        let mut swaps = Family::histogram("swap_duration_seconds", "Swaps");
        swaps.add(&[], Value::Histogram { sum: 0.5, count: 3, buckets: vec![(0.1, 2), (f64::INFINITY, 1)] });
        let mut generation = Family::gauge("generation", "Decision");
        generation.add(&[], Value::Count(4));
        let families = vec![requests, swaps, generation];
        let text = encode(families.clone(), Format::OpenMetrics);
        let expected = "\
# HELP nsd_failover_dns_requests Queries
# TYPE nsd_failover_dns_requests counter
nsd_failover_dns_requests_total{transport=\"u\\\"dp\\n\"} 18446744073709551615
# HELP nsd_failover_swap_duration_seconds Swaps
# TYPE nsd_failover_swap_duration_seconds histogram
nsd_failover_swap_duration_seconds_sum 0.5
nsd_failover_swap_duration_seconds_count 3
nsd_failover_swap_duration_seconds_bucket{le=\"0.1\"} 2
nsd_failover_swap_duration_seconds_bucket{le=\"+Inf\"} 3
# HELP nsd_failover_generation Decision
# TYPE nsd_failover_generation gauge
nsd_failover_generation 4
# EOF
";
        assert_eq!(text, expected);
        let older = encode(families, Format::Text);
        assert!(older.starts_with(
            "# HELP nsd_failover_dns_requests_total Queries\n# TYPE nsd_failover_dns_requests_total counter\n"
        ));
        assert!(older.ends_with("nsd_failover_generation 4\n"), "{older}");
    }
}
