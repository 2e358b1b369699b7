//! What of a status is shown, and in which order: what was searched for, problems first, and no more rows than a
//! person reads.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::director::alarm::{Alarm, Severity};
use crate::director::status::{CheckStatus, NodeStatus, PoolStatus, Status, ZoneStatus};

/// Rows of each table unless somebody asks for more.
const ROWS: usize = 25;
/// Rows of each table then.
const ROWS_MORE: usize = 2_000;
/// Alarms that are listed unless somebody asks for more.
pub const ALARMS: usize = 15;
/// So long a pool that has moved stands before those that have not.
const RECENT_MS: i64 = 3_600_000;
/// Longest search text, in characters.
const QUERY_MAX: usize = 100;

/// What a reader asked for: `?q=TEXT&more=1`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Asked {
    q: Option<String>,
    more: Option<String>,
}

impl Asked {
    /// The text that was searched for; empty: everything.
    pub fn query(&self) -> String {
        self.q.iter().flat_map(|text| text.trim().chars()).take(QUERY_MAX).collect()
    }

    /// Whether a name or line is what was searched for.
    pub fn matches(&self, text: &str) -> bool {
        contains(text, &self.query().to_lowercase())
    }

    /// Everything on one page is a lot to send every second.
    pub fn wants_more(&self) -> bool {
        self.more.is_some()
    }

    /// The same search with all its rows.
    pub fn more_link(&self) -> String {
        let unreserved = |octet: &u8| octet.is_ascii_alphanumeric() || b"-._~".contains(octet);
        let encoded: String = self
            .query()
            .as_bytes()
            .iter()
            .map(|octet| if unreserved(octet) { char::from(*octet).to_string() } else { format!("%{octet:02X}") })
            .collect();
        format!("?q={encoded}&more=1")
    }

    fn rows(&self) -> usize {
        if self.wants_more() { ROWS_MORE } else { ROWS }
    }

    fn alarms(&self) -> usize {
        if self.wants_more() { ROWS_MORE } else { ALARMS }
    }
}

/// How urgent it is to look at each pool, node and zone.
pub struct Urgency<'a>(BTreeMap<&'a str, Severity>);

impl<'a> Urgency<'a> {
    pub fn new(alarms: &'a [Alarm]) -> Urgency<'a> {
        let mut worst = BTreeMap::new();
        for alarm in alarms {
            let known = worst.entry(alarm.subject.as_str()).or_insert(alarm.severity);
            *known = alarm.severity.min(*known);
        }
        Urgency(worst)
    }

    /// Whether something is wrong with it, and not only as somebody ordered it for a while.
    pub fn is_wrong(&self, subject: &str) -> bool {
        self.0.get(subject).is_some_and(|severity| *severity < Severity::Notice)
    }

    /// The key that puts the most urgent first.
    pub fn of(&self, subject: &str) -> impl Ord + use<> {
        self.0.get(subject).map_or((true, Severity::Notice), |severity| (false, *severity))
    }

    /// The same for a pool, and those that have just moved before the others.
    pub fn of_pool(&self, pool: &PoolStatus, now_unix_ms: i64) -> impl Ord + use<> {
        let moved = pool.since_unix_ms.filter(|since| now_unix_ms.saturating_sub(*since) < RECENT_MS);
        (self.of(&pool.name), Reverse(moved))
    }
}

/// Some rows of those that match, of all that there are.
pub struct Shown<T> {
    pub rows: Vec<T>,
    pub matching: usize,
    pub total: usize,
}

pub struct View<'a> {
    pub pools: Shown<&'a PoolStatus>,
    pub alarms: Shown<&'a Alarm>,
    pub checks: Shown<(&'a NodeStatus, &'a CheckStatus)>,
    pub zones: Shown<&'a ZoneStatus>,
    pub urgency: Urgency<'a>,
}

impl View<'_> {
    /// A pool is found by its name, its nodes or its zones, and brings them with it; so do the
    /// others.
    pub fn new<'a>(status: &'a Status, asked: &Asked, alarms: &'a [Alarm]) -> View<'a> {
        let query = asked.query().to_lowercase();
        let urgency = Urgency::new(alarms);
        let of_zones = status.zones.iter().filter(|zone| contains(&zone.name, &query));
        let by_zone: BTreeSet<&str> = of_zones.flat_map(|zone| zone.pools.iter().map(String::as_str)).collect();
        let found = |pool: &&PoolStatus| {
            query.is_empty()
                || contains(&pool.name, &query)
                || by_zone.contains(pool.name.as_str())
                || pool.order.iter().any(|node| contains(node, &query))
        };
        let pools: Vec<&PoolStatus> = status.pools.iter().filter(found).collect();
        let named: BTreeSet<&str> = pools.iter().map(|pool| pool.name.as_str()).collect();
        let nodes_named: BTreeSet<&str> = pools.iter().flat_map(|pool| pool.order.iter().map(String::as_str)).collect();
        let checks =
            status.nodes.iter().filter(|node| contains(&node.name, &query) || nodes_named.contains(&*node.name));
        let checks = checks.flat_map(|node| node.checks.iter().map(move |check| (node, check))).collect();
        let zones = status.zones.iter();
        let zones =
            zones.filter(|zone| contains(&zone.name, &query) || zone.pools.iter().any(|pool| named.contains(&**pool)));
        let heard = alarms.iter().filter(|alarm| {
            let subject = alarm.subject.as_str();
            subject.is_empty() || contains(subject, &query) || named.contains(subject) || nodes_named.contains(subject)
        });
        View {
            pools: shown(pools, status.pools.len(), asked.rows(), |pool| urgency.of_pool(pool, status.unix_ms)),
            alarms: shown(heard.collect(), alarms.len(), asked.alarms(), |_| true),
            checks: shown(
                checks,
                status.nodes.iter().map(|node| node.checks.len()).sum(),
                asked.rows(),
                |(node, check)| (check.verdict == "up", check.against == 0, urgency.of(&node.name)),
            ),
            zones: shown(zones.collect(), status.zones.len(), asked.rows(), |zone| urgency.of(&zone.name)),
            urgency,
        }
    }
}

/// The first rows in this order; where it says nothing, the order they came in stays.
fn shown<T, K: Ord>(mut rows: Vec<T>, total: usize, most: usize, order: impl Fn(&T) -> K) -> Shown<T> {
    let matching = rows.len();
    rows.sort_by_key(order);
    rows.truncate(most);
    Shown { rows, matching, total }
}

/// Whether a text contains a query that is in lower case already.
fn contains(text: &str, query: &str) -> bool {
    query.is_empty() || text.to_lowercase().contains(query)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::director::alarm;

    fn status() -> Status {
        let pool = |number: usize| PoolStatus {
            name: format!("pool{number}"),
            order: vec![format!("a{number}"), format!("b{number}")],
            rule: if number == 700 { "all-down-keep".into() } else { "start".into() },
            ..PoolStatus::default()
        };
        let zone = |number: usize| ZoneStatus {
            name: format!("zone{number}.example."),
            pools: vec![format!("pool{number}")],
            ..ZoneStatus::default()
        };
        Status { pools: (0..1_000).map(pool).collect(), zones: (0..1_000).map(zone).collect(), ..Status::default() }
    }

    fn view(q: &str, more: bool) -> (Vec<String>, usize, usize) {
        let status = status();
        let asked = Asked { q: Some(q.to_owned()), more: more.then(|| "1".to_owned()) };
        let alarms = alarm::alarms(&status, 0);
        let view = View::new(&status, &asked, &alarms);
        let names = view.pools.rows.iter().map(|pool| pool.name.clone()).collect();
        (names, view.pools.matching, view.zones.matching)
    }

    #[test]
    fn problems_come_first_and_the_rest_is_bounded() {
        let (names, matching, _) = view("", false);
        assert_eq!((names.len(), matching), (ROWS, 1_000));
        assert_eq!(&names[..2], ["pool700", "pool0"]);
        assert_eq!(view("", true).0.len(), 1_000);
    }

    #[test]
    fn what_has_just_moved_comes_after_the_problems() {
        let mut status = Status { unix_ms: 10 * RECENT_MS, ..status() };
        let now = status.unix_ms;
        for (number, ago_ms) in [(300, RECENT_MS), (500, 60_000), (900, 1_000)] {
            status.pools[number].since_unix_ms = Some(now - ago_ms);
        }
        let alarms = alarm::alarms(&status, now);
        let view = View::new(&status, &Asked::default(), &alarms);
        let names: Vec<&str> = view.pools.rows.iter().map(|pool| pool.name.as_str()).collect();
        assert_eq!(names[..5], ["pool700", "pool900", "pool500", "pool0", "pool1"]);
    }

    /// A night on which everything burns: the rest of the alarms is a link away.
    #[test]
    fn alarms_beyond_the_first_are_shown_to_who_wants_more() {
        let mut status = status();
        status.pools.iter_mut().take(61).for_each(|pool| pool.rule = "all-down-keep".into());
        let alarms = alarm::alarms(&status, 0);
        let shown = |more: Option<String>| View::new(&status, &Asked { q: None, more }, &alarms).alarms.rows.len();
        assert_eq!((shown(None), shown(Some("1".into()))), (ALARMS, alarms.len()));
    }

    #[test]
    fn a_pool_is_found_by_its_name_its_nodes_and_its_zones() {
        for query in ["POOL42", "b42", " zone42.example ", "zone42.EXAMPLE."] {
            let (names, matching, zones) = view(query, false);
            assert!(names.contains(&"pool42".to_owned()), "{query}: {names:?}");
            assert!(matching <= 11 && zones <= 11, "{query}: {matching} {zones}");
        }
        assert_eq!(view("nothing like it", false).1, 0);
    }

    #[test]
    fn the_link_to_more_keeps_the_search_and_nothing_breaks_out_of_it() {
        let asked = Asked { q: Some("a b\"<&".into()), more: None };
        assert_eq!(asked.more_link(), "?q=a%20b%22%3C%26&more=1");
        assert_eq!(Asked { q: Some("x".repeat(1_000)), more: None }.query().len(), QUERY_MAX);
    }
}
