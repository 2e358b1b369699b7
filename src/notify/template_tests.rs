//! The texts as people get them.

use crate::director::event::{ExportReport, ExportResult};
use crate::director::incident::Kind;
use crate::health::family::Family;
use crate::notify::incident::Certificate;

use super::*;

const EVIL: &str = "</pre><script>alert(1)</script>\r\nBcc: all@example.org\u{1b}[2J```&";

fn incident(evil: &str) -> Incident {
    let change = |name: &str| Change {
        name: name.into(),
        rtype: "A".into(),
        ttl_s: 300,
        before: Some("192.0.2.10".into()),
        after: None,
    };
    Incident {
        id: "here-1-1".into(),
        kinds: vec![Kind::Transition],
        severity: Severity::Warning,
        host: "here".into(),
        version: "0.1.0".into(),
        time: rfc3339(1_700_000_000_000),
        unix_ms: 1_700_000_000_000,
        summary: format!("web: fishfinger -> nobody: it is down{evil}"),
        generation: Some(7),
        zones: Vec::new(),
        zones_left_out: 0,
        reasons: Vec::new(),
        moves: vec![Move {
            pool: "web".into(),
            families: vec![Family::Ipv4],
            from: Some(format!("fishfinger{evil}")),
            to: None,
            rule: "failover".into(),
            reason: format!("it is down{evil}"),
            probes: vec!["fishfinger ipv4 web: L4CON refused".into(), "blowfish ipv4 web: L4TOUT".into()],
            zones: vec!["foo.zone.".into()],
            names: 3,
            answers: vec![change("foo.zone."), change("www.foo.zone.")],
        }],
        moves_left_out: 0,
        exports: vec![ExportReport {
            zone: "foo.zone.".into(),
            generation: 7,
            serial: 42,
            result: ExportResult::Served,
            detail: "served".into(),
            unix_ms: 1_700_000_000_900,
            duration_ms: 80,
        }],
        exports_pending: vec!["bar.zone.".into()],
        caches_until_unix_ms: Some(1_700_000_300_000),
        certificate: None,
    }
}

#[test]
fn one_record_says_it_all() {
    assert_eq!(subject(&incident("")), "[here] WARNING: web: fishfinger -> nobody: it is down");
    let expected = "\
web: fishfinger -> nobody: it is down

When     2023-11-14T22:13:20Z, generation 7, seen by here
Pool     web ipv4: fishfinger -> nobody
Why      it is down [failover]
Probes   fishfinger ipv4 web: L4CON refused
         blowfish ipv4 web: L4TOUT
Answers  foo.zone. A (TTL 300 s): 192.0.2.10 -> no data
         www.foo.zone. A (TTL 300 s): 192.0.2.10 -> no data
         and 1 more
Export   foo.zone. serial 42: served [80 ms]
Export   bar.zone. had not ended when this was sent
Caches   may hold an old answer until 2023-11-14T22:18:20Z
Version  0.1.0
";
    assert_eq!(text(&incident("")), expected);
    let unknown = Incident { caches_until_unix_ms: None, ..incident("") };
    assert!(text(&unknown).contains("Caches   go on receiving the old answer: nsd does not have the new one yet\n"));
}

#[test]
fn what_comes_from_outside_stays_text() {
    let evil = incident(EVIL);
    assert_eq!(text(&evil).lines().count(), text(&incident("")).lines().count());
    assert!(!text(&evil).contains(['\u{1b}', '\r']) && !subject(&evil).contains(char::is_control));
    let Value::String(slack) = body(Template::Slack, &evil, "")["text"].clone() else { panic!("no text") };
    assert!(!slack.contains("<script") && slack.contains("&lt;script&gt;"), "{slack}");
    assert_eq!(slack.matches("```").count(), 2, "the block does not end early: {slack}");
}

#[test]
fn each_service_gets_what_it_understands() {
    let generic = body(Template::Generic, &incident(""), "");
    assert_eq!(generic["kinds"][0], "transition");
    assert_eq!(generic["severity"], "warning");
    assert_eq!(generic["moves"][0]["answers"][0]["type"], "A");
    assert_eq!(generic["caches_until_unix_ms"], 1_700_000_300_000_i64);
    let huge = Incident { summary: "ä".repeat(10_000), ..incident("") };
    let ntfy = body(Template::Ntfy, &huge, "alerts");
    assert_eq!((&ntfy["topic"], &ntfy["priority"]), (&json!("alerts"), &json!(4)));
    assert!(ntfy["message"].as_str().unwrap().len() <= NTFY_MAX + 3);
    assert!(ntfy["title"].as_str().unwrap().chars().count() <= SUBJECT_MAX + 1);
}

#[test]
fn the_topic_is_the_last_of_the_url() {
    let found = |url| ntfy_topic(url);
    assert_eq!(found("https://ntfy.sh/alerts"), Some(("https://ntfy.sh/".into(), "alerts".into())));
    assert_eq!(found("http://h:1/a/b?x=1"), Some(("http://h:1/a/?x=1".into(), "b".into())));
    assert_eq!(found("https://ntfy.sh/"), None);
    assert_eq!(found("mailto:x"), None);
}

#[test]
fn a_certificate_is_told_with_its_end() {
    let certificate = Certificate {
        node: "fishfinger".into(),
        check: "web".into(),
        expires_unix_s: 1_700_000_000,
        expires: rfc3339(1_700_000_000_000),
        days_left: 3,
    };
    let incident = Incident { moves: Vec::new(), exports: Vec::new(), certificate: Some(certificate), ..incident("") };
    assert!(text(&incident).contains("Expires  2023-11-14T22:13:20Z\n"), "{}", text(&incident));
}
