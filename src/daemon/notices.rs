//! What the notifications need to know of zones and pools, put together at the loop; and the
//! configuration's words in theirs.

use std::sync::Arc;

use domain::base::iana::Rtype;

use crate::config::{self, Serve};
use crate::control::metrics;
use crate::director::effect::Transition;
use crate::failover::binding::Binding;
use crate::failover::pool::{Node, Pool};
use crate::health::family::Family;
use crate::notify::desk::{Moved, ZoneMoved};
use crate::notify::destination::{Destination, Mail, Smtp, Tls, Url, Via, Way, Webhook};
use crate::notify::incident::{ANSWERS_MAX, Change};
use crate::notify::template::Template;
use crate::notify::{Counts, Notifier};
use crate::zone::Zone;
use crate::zone::tag::Role;

use super::load::{Loaded, LoadedZone};

/// The failover records of a zone that follow one pool.
#[derive(Clone, Debug)]
pub struct Followers {
    /// Index into the settings.
    pool: usize,
    /// Largest TTL, in seconds, of both roles.
    ttl_max_s: u32,
    /// Records that follow the primary, and some of them: owner, family, TTL in seconds.
    names: usize,
    some: Vec<(String, Family, u32)>,
}

/// Who follows which pool in a zone.
pub fn followers(zone: &Zone, binding: &Binding) -> Vec<Followers> {
    let mut found: Vec<Followers> = Vec::new();
    let mut cursor = zone.cursor();
    while let Some(seen) = cursor.next_failover() {
        let Some(slot) = seen.tag.as_ref().and_then(|tag| binding.slot(tag)) else { continue };
        let family = match seen.record.rtype {
            Rtype::A => Family::Ipv4,
            Rtype::AAAA => Family::Ipv6,
            _ => continue,
        };
        let place = found.iter().position(|one| one.pool == slot.pool).unwrap_or_else(|| {
            found.push(Followers { pool: slot.pool, ttl_max_s: 0, names: 0, some: Vec::new() });
            found.len() - 1
        });
        let one = &mut found[place];
        one.ttl_max_s = one.ttl_max_s.max(seen.record.ttl);
        if slot.role == Role::Primary {
            one.names += 1;
            if one.some.len() < ANSWERS_MAX {
                one.some.push((zone.record(seen.entry).record.owner.to_string(), family, seen.record.ttl));
            }
        }
    }
    found
}

/// Everything about a transition that the notifications tell. `is_held`: whether a rollback holds the
/// exports of a zone, by index.
pub fn moved(transition: Arc<Transition>, pools: &[Pool], loaded: &Loaded, is_held: impl Fn(usize) -> bool) -> Moved {
    let mut moved = Moved { transition, zones: Vec::new(), names: 0, answers: Vec::new() };
    let Some(pool) = pools.iter().position(|pool| pool.name == moved.transition.pool) else { return moved };
    let node = |name: &Option<String>| pools[pool].nodes.iter().find(|node| Some(&node.name) == name.as_ref());
    let (from, to) = (node(&moved.transition.from), node(&moved.transition.to));
    for (index, zone) in loaded.zones.iter().enumerate() {
        for followers in zone.followers.iter().filter(|followers| followers.pool == pool) {
            moved.zones.push(zone_moved(zone, followers, is_held(index)));
            let some = followers.some.iter().filter(|(_, family, _)| moved.transition.families.contains(family));
            for (name, family, ttl_s) in some.take(ANSWERS_MAX.saturating_sub(moved.answers.len())) {
                moved.answers.push(Change {
                    name: name.clone(),
                    rtype: if *family == Family::Ipv4 { "A" } else { "AAAA" }.to_owned(),
                    ttl_s: *ttl_s,
                    before: from.and_then(|node| address(node, *family)),
                    after: to.and_then(|node| address(node, *family)),
                });
            }
            moved.names += followers.names;
        }
    }
    moved
}

fn zone_moved(zone: &LoadedZone, followers: &Followers, is_held: bool) -> ZoneMoved {
    ZoneMoved {
        origin: zone.config.origin.to_string(),
        ttl_max_s: followers.ttl_max_s,
        exported: zone.config.export_file.is_some() && !is_held,
        answered_by_nsd: zone.config.serve == Serve::Off,
    }
}

fn address(node: &Node, family: Family) -> Option<String> {
    match family {
        Family::Ipv4 => node.ipv4.map(|ip| ip.to_string()),
        Family::Ipv6 => node.ipv6.map(|ip| ip.to_string()),
    }
}

/// The destinations of a configuration.
pub fn destinations(config: &[config::notify::Notify]) -> Vec<Destination> {
    let destination = |notify: &config::notify::Notify| Destination {
        name: notify.name.clone(),
        way: way(&notify.way),
        events: notify.events.clone(),
        timeout_ms: notify.timeout_ms,
    };
    config.iter().map(destination).collect()
}

fn way(way: &config::notify::Way) -> Way {
    use config::notify as from;
    match way.clone() {
        from::Way::Mail { to, from, via } => Way::Mail(Mail { to, from, via: via_of(via) }),
        from::Way::Webhook { url, template, token_file, ca_file } => Way::Webhook(Webhook {
            url: match url {
                from::Url::Given(url) => Url::Given(url),
                from::Url::File(file) => Url::File(file),
            },
            template: match template {
                from::Template::Generic => Template::Generic,
                from::Template::Ntfy => Template::Ntfy,
                from::Template::Slack => Template::Slack,
            },
            token_file,
            ca_file,
        }),
        from::Way::Exec(argv) => Way::Exec(argv),
    }
}

fn via_of(via: config::notify::Via) -> Via {
    match via {
        config::notify::Via::Sendmail(argv) => Via::Sendmail(argv),
        config::notify::Via::Smtp { host, port, tls, ca_file, login } => {
            let tls = match tls {
                config::notify::Tls::Starttls => Tls::Starttls,
                config::notify::Tls::Implicit => Tls::Implicit,
                config::notify::Tls::Off => Tls::Off,
            };
            Via::Smtp(Smtp { host, port, tls, ca_file, login })
        }
    }
}

/// The counters of the notifications as metrics, read at each call.
pub fn families(notifier: &Notifier) -> impl Fn() -> [metrics::Family; 2] + Send + Sync + use<> {
    let counts = notifier.counts();
    move || {
        let mut ended = metrics::Family::counter("notifications", "Notifications by what became of them");
        let mut waiting = metrics::Family::gauge("notifications_waiting", "Notifications that are not delivered yet");
        for Counts { name, delivered, failed, dropped, waiting: number } in counts() {
            for (result, count) in [("delivered", delivered), ("failed", failed), ("dropped", dropped)] {
                ended.add(&[("name", &name), ("result", result)], metrics::Value::Count(count));
            }
            waiting.add(&[("name", &name)], metrics::Value::Number(number as f64));
        }
        [ended, waiting]
    }
}
