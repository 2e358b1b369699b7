//! Who is up in a pool and may be chosen, read from the trail of answers by the words of the manual
//! (docs/decision.md, "Families").

use nsd_failover::failover::pool::{Families, Pool, Rotate};
use nsd_failover::health::family::Family;

use super::super::view::{Said, Seen, View};
use super::{Laws, WEEK_MS};

/// A pool, as what was seen and ordered shows it.
#[derive(Clone, Copy)]
pub struct Standing<'a> {
    pub pool: &'a Pool,
    pub view: &'a View,
    laws: &'a Laws,
}

impl Laws {
    pub fn standing(&self, pool: usize) -> Standing<'_> {
        Standing { pool: &self.settings.pools[pool], view: &self.view, laws: self }
    }
}

impl<'a> Standing<'a> {
    /// The families that are decided together with this one.
    pub fn line(self, family: Family) -> impl Iterator<Item = Family> + Clone {
        let is_alone = self.pool.families == Families::Independent;
        Family::ALL.into_iter().filter(move |other| !is_alone || *other == family)
    }

    /// The lines of the pool, each by its first family.
    pub fn lines(self) -> impl Iterator<Item = Family> {
        let firsts = if self.pool.families == Families::Independent { &Family::ALL[..] } else { &Family::ALL[..1] };
        let is_there =
            move |first: &Family| self.line(*first).any(|family| self.pool.nodes.iter().any(|node| node.has(family)));
        firsts.iter().copied().filter(is_there)
    }

    pub fn said(self, node: usize, family: Family) -> Option<Said> {
        self.view.said(self.pool, &self.pool.nodes[node].name, family)
    }

    /// What is known of the targets of a node that are decided together.
    pub fn seen(self, node: usize, family: Family) -> impl Iterator<Item = &'a Seen> + Clone {
        let (pool, view) = (self.pool, self.view);
        self.line(family).flat_map(move |family| view.of(pool, &pool.nodes[node].name, family))
    }

    /// Nobody of the line is probed: only orders and the rotation move it.
    pub fn is_unwatched(self, family: Family) -> bool {
        (0..self.pool.nodes.len()).all(|node| self.seen(node, family).next().is_none())
    }

    /// Nobody is up over the family, but somebody over the other.
    pub fn is_silent(self, family: Family) -> bool {
        let somebody = |family| (0..self.pool.nodes.len()).any(|node| self.said(node, family) == Some(Said::Up));
        self.pool.families != Families::Independent
            && !somebody(family)
            && Family::ALL.into_iter().any(|other| other != family && somebody(other))
    }

    /// What is said of a node all in all; families without a say are left out. `None`: nothing is.
    pub fn all_in_all(self, node: usize, family: Family, silence: Silence) -> Option<Said> {
        let has_say = |family: &Family| !self.is_silent(*family) || silence == Silence::Counts;
        let mut said = self.line(family).filter(has_say).filter_map(|family| self.said(node, family)).peekable();
        said.peek()?;
        let all = |wanted| said.clone().all(|said| said == wanted);
        let any = |wanted| said.clone().any(|said| said == wanted);
        Some(match self.pool.families {
            Families::Withdraw if any(Said::Up) => Said::Up,
            Families::Withdraw if all(Said::Down) => Said::Down,
            Families::Together | Families::Independent if any(Said::Down) => Said::Down,
            Families::Together | Families::Independent if all(Said::Up) => Said::Up,
            _ => Said::Unknown,
        })
    }

    /// It may be chosen: it is up, and nobody has drained it.
    pub fn is_candidate(self, node: usize, family: Family, silence: Silence) -> bool {
        let said = self.all_in_all(node, family, silence);
        self.is_eligible(node, family) && (said == Some(Said::Up) || self.is_unwatched(family))
    }

    /// The same, whatever an anchor may have to say about a silent family: one that is up gives it
    /// its say back.
    pub fn is_sure(self, node: usize, family: Family) -> bool {
        let silences = if self.pool.anchors.is_empty() { &[Silence::LeftOut][..] } else { &Silence::BOTH };
        silences.iter().all(|silence| self.is_candidate(node, family, *silence))
    }

    pub fn is_eligible(self, node: usize, family: Family) -> bool {
        let node = &self.pool.nodes[node];
        !self.laws.is_drained(&node.name) && self.line(family).any(|family| node.has(family))
    }

    /// Its last answers were all good, as far as there are any.
    pub fn has_spoken_well(self, node: usize, family: Family) -> bool {
        self.seen(node, family).all(|seen| seen.last != Some(false))
    }

    /// It is down, and what says so has not just said otherwise.
    pub fn is_surely_down(self, node: usize, family: Family) -> bool {
        Silence::BOTH.into_iter().all(|silence| self.all_in_all(node, family, silence) == Some(Said::Down))
            && self.line(family).filter(|family| !self.is_silent(*family)).any(|family| {
                let down = self.view.of(self.pool, &self.pool.nodes[node].name, family);
                down.filter(|seen| seen.up == Some(false)).any(|seen| !seen.is_doubted())
            })
    }

    /// The nodes in the order of preference: the configured one, with `rotate = "weekly"` turned by one
    /// for each whole week since Monday 1970-01-05 00:00 UTC.
    pub fn order(self, unix_ms: i64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.pool.nodes.len()).collect();
        if self.pool.rotate == Rotate::Weekly {
            let turned = week(unix_ms).rem_euclid(order.len() as i64);
            order.rotate_left(turned as usize);
        }
        order
    }

    /// Whether the first comes before the second in that order.
    pub fn is_preferred(self, node: usize, to: usize, unix_ms: i64) -> bool {
        self.order(unix_ms).into_iter().find(|known| [node, to].contains(known)) == Some(node) && node != to
    }
}

/// Whether a family over which nobody is up has its say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Silence {
    LeftOut,
    Counts,
}

impl Silence {
    const BOTH: [Silence; 2] = [Silence::LeftOut, Silence::Counts];
}

/// Whole weeks since Monday 1970-01-05 00:00 UTC.
pub fn week(unix_ms: i64) -> i64 {
    (unix_ms - 4 * 86_400_000).div_euclid(WEEK_MS)
}
