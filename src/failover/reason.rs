//! The sentence that goes with a decision, for the log, the page and the mail. Made only when
//! something has changed: [`super::decide`] itself writes no text.

use crate::health::family::Family;
use crate::health::verdict::Verdict;

use super::decide::{Memory, PoolDecision, View};
use super::pool::{Pool, Preempt};
use super::rule::Rule;

/// What the sentence can tell beyond the decision.
pub trait Evidence {
    /// Why a node has its verdict over a family, or none: "web: L4CON refused, 3/3 failures". May be empty.
    fn of(&self, node: usize, family: Family) -> String;

    /// The operator's words for the hold on the pool.
    fn hold(&self) -> Option<&str> {
        None
    }
}

/// Why a family of a pool is answered as it is: one sentence without a final stop.
pub fn sentence(
    pool: &Pool,
    before: &Memory,
    decision: &PoolDecision,
    family: Family,
    view: &View<'_>,
    evidence: &dyn Evidence,
) -> String {
    let teller = Teller { pool, view, evidence };
    // Where the family itself has no address, its sister tells.
    let primary = |memory: &Memory| {
        let roles = memory.roles?;
        roles[family].primary.or_else(|| Family::ALL.iter().find_map(|other| roles[*other].primary))
    };
    let (old, new) = (primary(before), primary(&decision.memory));
    let old_state = || old.map_or("the answer is withdrawn".to_owned(), |node| teller.state(node));
    let new_state = || new.map_or("nobody is primary".to_owned(), |node| teller.state(node));
    match decision.rule[family] {
        Rule::Hold => teller.held(new),
        Rule::Unconfirmed => "waiting for the first full round of probes".to_owned(),
        Rule::Start => format!("first decision: {}", new_state()),
        Rule::Steady => format!("{}; no better node is due", new_state()),
        Rule::Unknown => format!("{}; nothing moves until more is known{}", new_state(), teller.waits_for(new, false)),
        Rule::Blind => format!(
            "{}; it is waited in vain{}; the answer stays {}",
            old_state(),
            teller.waits_for(new, true),
            teller.name(new)
        ),
        Rule::Failover if old.is_none() => format!("{} again", new_state()),
        Rule::Failover | Rule::Drain => format!("{}; {}", old_state(), new_state()),
        Rule::Rotation => format!("weekly rotation: {}; {}", new_state(), old_state()),
        Rule::Preempt => teller.preempt(new, old),
        Rule::Family => teller.family(before, decision),
        Rule::AllDownKeep => format!("nobody is up: {}; the answer stays {}", teller.everybody(), teller.name(new)),
        Rule::AllDownFirst => {
            format!("nobody is up: {}; the answer is the first in order, {}", teller.everybody(), teller.name(new))
        }
        Rule::AllDownWithdraw => format!("nobody is up: {}; the answer is withdrawn", teller.everybody()),
        Rule::CutOff => format!(
            "all nodes and the anchors fail: we are cut off, not they ({}); the answer stays {}",
            teller.everybody(),
            teller.name(new)
        ),
        Rule::MinHold => format!(
            "{}; the last move is less than min-hold = {} ago, the answer stays {}",
            old_state(),
            duration(pool.min_hold_ms),
            teller.name(new)
        ),
    }
}

struct Teller<'a> {
    pool: &'a Pool,
    view: &'a View<'a>,
    evidence: &'a dyn Evidence,
}

impl Teller<'_> {
    fn name(&self, node: Option<usize>) -> &str {
        node.map_or("nobody", |node| &self.pool.nodes[node].name)
    }

    /// "blowfish is up", "fishfinger is down over ipv4 (web: L4CON refused, 3/3 failures)".
    fn state(&self, node: usize) -> String {
        let name = self.name(Some(node));
        let seen = &self.view.nodes[node].seen;
        let with = |verdict| {
            let of = move |family: &Family| seen[*family].is_some_and(|seen| seen.verdict == verdict);
            Family::ALL.into_iter().filter(of).collect::<Vec<_>>()
        };
        let (up, down, unknown) = (with(Verdict::Up), with(Verdict::Down), with(Verdict::Unknown));
        let mut text = match (up.as_slice(), down.as_slice(), unknown.as_slice()) {
            ([], [], []) => format!("{name} is not probed"),
            (_, [], []) => format!("{name} is up"),
            (_, [], unknown) => format!("nothing is known of {name} over {}", list(unknown)),
            (_, down, _) => {
                let why: Vec<String> = down.iter().map(|family| self.evidence.of(node, *family)).collect();
                let why = why.into_iter().filter(|why| !why.is_empty()).collect::<Vec<_>>().join("; ");
                let why = if why.is_empty() { why } else { format!(" ({why})") };
                format!("{name} is down over {}{why}", list(down))
            }
        };
        if self.view.nodes[node].drained {
            text.push_str(", drained");
        }
        text
    }

    fn everybody(&self) -> String {
        (0..self.pool.nodes.len()).map(|node| self.state(node)).collect::<Vec<_>>().join("; ")
    }

    /// What the next probes must tell: ": blowfish has just answered". In vain: with what they found
    /// instead, of the primary too.
    fn waits_for(&self, primary: Option<usize>, in_vain: bool) -> String {
        let news = |node: usize| {
            let name = self.name(Some(node));
            let seen = &self.view.nodes[node].seen;
            let is = |verdict, doubt| {
                let mut seen = Family::ALL.into_iter().filter_map(|family| seen[family]);
                seen.any(|seen| seen.verdict == verdict && seen.doubt == doubt)
            };
            match () {
                () if is(Verdict::Down, true) => Some(format!("{name} has just answered")),
                () if is(Verdict::Up, true) => Some(format!("{name} has just failed")),
                () if is(Verdict::Unknown, false) && in_vain => {
                    let unknown = |family: &Family| seen[*family].is_some_and(|seen| seen.verdict == Verdict::Unknown);
                    let why = Family::ALL.into_iter().find(unknown).map(|family| self.evidence.of(node, family));
                    Some(format!("nothing is known of {name} ({})", why.unwrap_or_default()))
                }
                () if is(Verdict::Unknown, false) && primary != Some(node) => {
                    Some(format!("nothing is known of {name}"))
                }
                () => None,
            }
        };
        let mut news: Vec<String> = (0..self.pool.nodes.len()).filter_map(news).collect();
        if news.is_empty() && Family::ALL.iter().any(|family| self.view.anchors[*family] == Some(Verdict::Unknown)) {
            news.push("the anchors are asked".to_owned());
        }
        if news.is_empty() { String::new() } else { format!(": {}", news.join(", ")) }
    }

    fn held(&self, node: Option<usize>) -> String {
        let reason = self.evidence.hold().map(|reason| format!(" ({reason})")).unwrap_or_default();
        let mut text = format!("the operator holds {}{reason}", self.name(node));
        if let Some(node) = node {
            let seen = &self.view.nodes[node].seen;
            let is_down = |family: &Family| seen[*family].is_some_and(|seen| seen.verdict == Verdict::Down);
            if Family::ALL.iter().any(is_down) || self.view.nodes[node].drained {
                text.push_str(", although ");
                text.push_str(&self.state(node));
            }
        }
        text
    }

    fn preempt(&self, new: Option<usize>, old: Option<usize>) -> String {
        let delay = match self.pool.preempt {
            Preempt::After(delay_ms) => duration(delay_ms),
            Preempt::Never => "never".to_owned(),
        };
        let preferred = format!("{} is preferred and has been up for preempt = {delay}", self.name(new));
        match old {
            Some(old) => format!("{preferred}; {}", self.state(old)),
            None => preferred,
        }
    }

    /// "fishfinger stays: it is down over ipv6 (...), which is withdrawn".
    fn family(&self, before: &Memory, decision: &PoolDecision) -> String {
        let (Some(old), Some(new)) = (before.roles, decision.memory.roles) else { return String::new() };
        let changes = Family::ALL.iter().filter_map(|family| match (old[*family].primary, new[*family].primary) {
            (Some(node), None) if self.pool.nodes[node].has(*family) => {
                Some(format!("{family} is withdrawn: {}", self.state(node)))
            }
            (Some(_), None) => Some(format!("{family} is withdrawn: no address")),
            (None, Some(node)) => Some(format!("{family} is answered again: {}", self.state(node))),
            (Some(a), Some(b)) if a != b => Some(format!("{family} joins {}", self.name(Some(b)))),
            _ => None,
        });
        changes.collect::<Vec<_>>().join("; ")
    }
}

fn list(families: &[Family]) -> String {
    families.iter().map(|family| family.as_str()).collect::<Vec<_>>().join(" and ")
}

/// "5m", "1h 30m", "250ms".
pub fn duration(duration_ms: u64) -> String {
    const UNITS: [(u64, &str); 5] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
    let mut rest_ms = duration_ms;
    let mut parts = Vec::new();
    for (unit_ms, unit) in UNITS {
        if rest_ms >= unit_ms {
            parts.push(format!("{}{unit}", rest_ms / unit_ms));
            rest_ms %= unit_ms;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration(0), "0s");
        assert_eq!(duration(300_000), "5m");
        assert_eq!(duration(5_400_000), "1h 30m");
        assert_eq!(duration(1_250), "1s 250ms");
    }
}
