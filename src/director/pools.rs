//! One pool: its view of the nodes, its memory, and what a decision about it means for people.

use std::cmp::Ordering;

use crate::failover::decide::{Memory, NodeView, PoolDecision, Seen, View, decide};
use crate::failover::pool::{Families, Pool, PoolRoles, PoolToldRoles, Roles, Told, ToldRoles};
use crate::failover::reason::{Evidence, sentence};
use crate::failover::rule::Rule;
use crate::health::family::{Family, PerFamily};
use crate::health::time::Now;
use crate::health::verdict::Verdict;

use super::alarm;
use super::effect::Transition;
use super::orders::Orders;
use super::settings::Settings;
use super::state::{SavedPool, State, find_roles, monotonic, name_roles, to_monotonic, to_unix};
use super::targets::{TargetState, Targets};

#[derive(Debug)]
pub(super) struct PoolState {
    pub(super) memory: Memory,
    /// Parallel to the pool's nodes.
    view: Vec<NodeView>,
    /// The targets (by index) that speak about each node and family.
    members: Vec<PerFamily<Vec<usize>>>,
    /// Targets that have not settled yet.
    pub(super) unsettled: usize,
    /// Zones (by index) with failover records that follow the pool.
    pub(super) zones: Vec<usize>,
    /// When the primary last moved, and why.
    pub(super) since_unix_ms: Option<i64>,
    moved: Why,
    /// What holds the pool in a state that needs explaining, if anything does.
    standing: Option<Why>,
    pub(super) rule: Rule,
    /// The same of each family.
    pub(super) rules: PerFamily<Rule>,
    /// See [`PoolDecision::waits`].
    pub(super) waits: bool,
    /// Families that have no say, as of the last decision.
    pub(super) silent: PerFamily<bool>,
    /// Targets (by index) that are the pool's anchors.
    pub(super) anchors: Vec<usize>,
    /// When to decide again, in monotonic milliseconds.
    pub(super) review_ms: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Why {
    pub(super) rule: String,
    pub(super) reason: String,
    /// What the probes had said, a line for each target.
    pub(super) probes: Vec<String>,
}

impl PoolState {
    /// Roles: from the saved state, else from the zone files that agree on them.
    pub(super) fn new(index: usize, settings: &Settings, saved: &State, now: Now) -> PoolState {
        let pool = &settings.pools[index];
        let before = saved.pools.get(&pool.name);
        let known = before.and_then(|before| find_roles(before.roles.as_ref()?, &pool.nodes));
        let mut state = PoolState {
            memory: Memory { roles: known.or_else(|| roles_in_files(index, settings)), ..Memory::default() },
            view: vec![NodeView::default(); pool.nodes.len()],
            members: vec![PerFamily::default(); pool.nodes.len()],
            unsettled: 0,
            zones: Vec::new(),
            since_unix_ms: None,
            moved: Why { rule: "file".to_owned(), reason: "as found in the zone files".to_owned(), probes: Vec::new() },
            standing: None,
            rule: Rule::Steady,
            rules: PerFamily::from_fn(|_| Rule::Unconfirmed),
            waits: false,
            silent: PerFamily::default(),
            anchors: Vec::new(),
            review_ms: None,
        };
        if let Some(before) = before {
            let moved_ms = |family| before.moved_unix_ms[family].map(|unix_ms| to_monotonic(unix_ms, now));
            state.memory.moved_ms = PerFamily::from_fn(moved_ms);
            state.memory.rotated_week = before.rotated_week;
            state.since_unix_ms = before.since_unix_ms;
            if known.is_some() {
                let (rule, reason, probes) = (before.rule.clone(), before.reason.clone(), before.probes.clone());
                state.moved = Why { rule, reason, probes };
            }
        }
        state
    }

    /// Adds a target that speaks about a node of this pool.
    pub(super) fn add_member(&mut self, node: usize, target: usize, targets: &Targets) {
        let state = &targets.list[target];
        self.members[node][state.family()].push(target);
        self.unsettled += usize::from(!state.settled);
        self.look(node, state.family(), targets);
    }

    /// Takes over what the targets of a node and family say.
    pub(super) fn look(&mut self, node: usize, family: Family, targets: &Targets) {
        let members = self.members[node][family].iter().map(|index| &targets.list[*index]);
        self.view[node].seen[family] = members.map(seen).reduce(worse);
    }

    /// The targets that speak about the pool's nodes.
    pub(super) fn members(&self) -> impl Iterator<Item = (usize, Family, usize)> {
        let of = |(node, members): (usize, &'_ PerFamily<Vec<usize>>)| {
            Family::ALL
                .map(|family| members[family].iter().map(move |target| (node, family, *target)).collect::<Vec<_>>())
        };
        self.members.iter().enumerate().flat_map(of).flatten()
    }

    /// Whether nobody is up over some family that is probed: then the anchors matter.
    pub(super) fn needs_anchors(&self) -> bool {
        !self.anchors.is_empty() && Family::ALL.into_iter().any(|family| self.nobody_is_up(family))
    }

    fn nobody_is_up(&self, family: Family) -> bool {
        let mut seen = self.view.iter().filter_map(|node| node.seen[family]).peekable();
        seen.peek().is_some() && seen.all(|seen| seen.verdict != Verdict::Up)
    }

    /// What the anchors of a family say. An answer from before the last node went down is worth
    /// nothing: they must have been up since. And when they are up again after we were cut off, the
    /// nodes must have failed since then.
    pub(super) fn anchored(&self, family: Family, targets: &Targets) -> Option<Verdict> {
        let seen = self.view.iter().flat_map(|node| [node.seen.ipv4, node.seen.ipv6]).flatten();
        let down_ms = seen.filter(|seen| seen.verdict == Verdict::Down).map(|seen| seen.since_ms).max();
        let members = self.members().map(|(_, _, index)| &targets.list[index]);
        let down = members.filter(|target| target.counter.verdict() == Verdict::Down);
        let asked_ms = down.map(|target| if target.is_doubted() { None } else { target.last_ended_ms }).min();
        let anchors = self.anchors.iter().map(|index| &targets.list[*index]);
        let said = anchors.filter(|target| target.family() == family).map(|target| {
            let was_asked = target.last_good_ms >= down_ms;
            let nodes_were_asked = asked_ms.is_none_or(|asked_ms| asked_ms >= target.since_ms);
            match target.counter.verdict() {
                Verdict::Up if !was_asked || !nodes_were_asked => Verdict::Unknown,
                verdict => verdict,
            }
        });
        best(said)
    }

    /// What the anchors of a family were found to be, however long ago.
    pub(super) fn anchors_say(&self, family: Family, targets: &Targets) -> Option<Verdict> {
        let anchors = self.anchors.iter().map(|index| &targets.list[*index]);
        best(anchors.filter(|target| target.family() == family).map(|target| target.counter.verdict()))
    }

    /// The time in which the probes of the pool and of its anchors come to a verdict, if they can.
    pub(super) fn patience_ms(&self, targets: &Targets) -> u64 {
        let members = self.members().map(|(_, _, index)| index);
        members.chain(self.anchors.iter().copied()).map(|index| targets.list[index].patience_ms()).max().unwrap_or(0)
    }

    pub(super) fn drain(&mut self, node: usize, drained: bool) {
        self.view[node].drained = drained;
    }

    /// Decides; gives what people shall be told, without generation and zones. The second is when
    /// to decide again.
    pub(super) fn decide(
        &mut self,
        pool: &Pool,
        orders: &Orders,
        targets: &Targets,
        now: Now,
    ) -> (Vec<Transition>, Option<u64>) {
        let anchors = PerFamily::from_fn(|family| self.anchored(family, targets));
        let nodes = std::mem::take(&mut self.view);
        let view = View {
            nodes: &nodes,
            hold: orders.hold(pool),
            confirmed: self.unsettled == 0,
            anchors,
            patience_ms: self.patience_ms(targets),
            now_ms: monotonic(now),
            unix_ms: now.unix_ms,
        };
        let before = self.memory;
        let decision = decide(pool, &before, &view);
        self.memory = decision.memory;
        self.rules = decision.rule;
        self.waits = decision.waits;
        let mut told = self.tell(pool, &before, &decision, &view, orders, targets);
        told.extend(self.tell_families(pool, &decision, &view, targets));
        self.view = nodes;
        self.review_ms = decision.review_ms.map(|at_ms| u64::try_from(at_ms).unwrap_or(0));
        (told, self.review_ms)
    }

    fn tell(
        &mut self,
        pool: &Pool,
        before: &Memory,
        decision: &PoolDecision,
        view: &View<'_>,
        orders: &Orders,
        targets: &Targets,
    ) -> Vec<Transition> {
        let rule = leading(pool, decision);
        let had_alarm = self.rule.is_alarm();
        // The move that an alarm has made explains nothing any more once somebody is up.
        let is_over = self.standing.is_none() && !rule.is_alarm() && alarm::is_all_down(&self.moved.rule);
        let news = rule != self.rule || is_over;
        self.rule = rule;
        if before.roles == decision.memory.roles && !news {
            return Vec::new();
        }
        let teller = Teller { pool, members: &self.members, targets, hold: orders.hold_reason(&pool.name) };
        let say = |family| sentence(pool, before, decision, family, view, &teller);
        let moves = moves(pool, before.roles, decision.memory.roles);
        let transition = |families: Vec<Family>, from, to, rule: &str, reason: String| Transition {
            generation: 0,
            unix_ms: view.unix_ms,
            pool: pool.name.clone(),
            families,
            from: name(pool, from),
            to: name(pool, to),
            rule: rule.to_owned(),
            reason,
            zones: Vec::new(),
            probes: teller.probes(),
            shadow: false,
        };
        let mut told: Vec<Transition> = Vec::new();
        for Move { families, from, to } in moves {
            let family = families[0];
            told.push(transition(families, from, to, decision.rule[family].as_str(), say(family)));
        }
        let primary = decision.memory.roles.and_then(any_primary);
        let family = Family::ALL.into_iter().find(|family| decision.rule[*family] == rule).unwrap_or(Family::Ipv4);
        if let Some(first) = told.first() {
            self.since_unix_ms = Some(view.unix_ms);
            let (rule, reason, probes) = (first.rule.clone(), first.reason.clone(), first.probes.clone());
            self.moved = Why { rule, reason, probes };
            self.standing = None;
        } else if before.roles.is_some() && before.roles != decision.memory.roles {
            let standby = decision.memory.roles.and_then(any_standby);
            let reason = format!("the standby is now {}", standby.map_or("nobody", |node| &pool.nodes[node].name));
            told.push(transition(Vec::new(), primary, primary, "standby", reason));
        }
        if news && told.iter().all(|told| told.families.is_empty()) {
            let why = Why { rule: rule.as_str().to_owned(), reason: say(family), probes: teller.probes() };
            if rule.is_alarm() || had_alarm {
                told.push(transition(Vec::new(), primary, primary, &why.rule, why.reason.clone()));
            }
            let is_explained = rule == Rule::Steady && !alarm::is_all_down(&self.moved.rule);
            self.standing = (!is_explained).then_some(why);
        }
        told
    }

    /// A family over which nobody is up any more, or somebody again: nothing moves for it, but
    /// people shall know.
    fn tell_families(
        &mut self,
        pool: &Pool,
        decision: &PoolDecision,
        view: &View<'_>,
        targets: &Targets,
    ) -> Vec<Transition> {
        let before = std::mem::replace(&mut self.silent, decision.silent);
        let changed = Family::ALL.into_iter().filter(|family| before[*family] != decision.silent[*family]);
        let primary = decision.memory.roles.and_then(any_primary);
        let teller = Teller { pool, members: &self.members, targets, hold: None };
        let transition = |family: Family| Transition {
            generation: 0,
            unix_ms: view.unix_ms,
            pool: pool.name.clone(),
            families: Vec::new(),
            from: name(pool, primary),
            to: name(pool, primary),
            rule: if decision.silent[family] { "family-down" } else { "family-up" }.to_owned(),
            reason: match decision.silent[family] {
                true => silence(family),
                false => format!("{family} has a say in the choice again"),
            },
            zones: Vec::new(),
            probes: teller.probes(),
            shadow: false,
        };
        changed.map(transition).collect()
    }

    /// What is wrong with the pool although it has a primary, a sentence each.
    pub(super) fn alarms(&self) -> Vec<String> {
        let alarm = self.standing.as_ref().filter(|_| self.rule.is_alarm()).map(|why| why.reason.clone());
        let silent = Family::ALL.into_iter().filter(|family| self.silent[*family]).map(silence);
        alarm.into_iter().chain(silent).collect()
    }

    /// The rule and the sentence that explain the roles of today.
    pub(super) fn why(&self) -> &Why {
        self.standing.as_ref().unwrap_or(&self.moved)
    }

    pub(super) fn saved(&self, pool: &Pool, now: Now) -> SavedPool {
        SavedPool {
            roles: self.memory.roles.map(|roles| name_roles(&roles, &pool.nodes)),
            moved_unix_ms: PerFamily::from_fn(|family| self.memory.moved_ms[family].map(|at_ms| to_unix(at_ms, now))),
            rotated_week: self.memory.rotated_week,
            since_unix_ms: self.since_unix_ms,
            rule: self.moved.rule.clone(),
            reason: self.moved.reason.clone(),
            probes: self.moved.probes.clone(),
        }
    }

    /// What is known of the nodes.
    pub(super) fn view(&self) -> &[NodeView] {
        &self.view
    }

    /// The same with another verdict on one node, over all families that it is probed over.
    pub(super) fn imagine(&self, node: usize, verdict: Verdict, since_ms: i64) -> Vec<NodeView> {
        let mut nodes = self.view.clone();
        let seen = &mut nodes[node].seen;
        *seen = PerFamily::from_fn(|family| seen[family].map(|_| Seen { verdict, doubt: false, since_ms }));
        nodes
    }
}

fn silence(family: Family) -> String {
    format!("no node is up over {family}: it is left out of the choice; is our own {family} broken?")
}

/// What the probes of one pool say, in words.
struct Teller<'a> {
    pool: &'a Pool,
    members: &'a [PerFamily<Vec<usize>>],
    targets: &'a Targets,
    hold: Option<&'a str>,
}

impl Evidence for Teller<'_> {
    fn of(&self, node: usize, family: Family) -> String {
        let members = self.members[node][family].iter().map(|index| &self.targets.list[*index]);
        let with = |verdict| members.clone().filter(move |target| target.counter.verdict() == verdict);
        let wanted = if with(Verdict::Down).next().is_some() { Verdict::Down } else { Verdict::Unknown };
        let say = |target: &TargetState| {
            format!("{}: {}, {}", target.target.check, target.found(), target.counter.tally(target.thresholds))
        };
        with(wanted).map(say).collect::<Vec<_>>().join("; ")
    }

    fn hold(&self) -> Option<&str> {
        self.hold
    }
}

impl Teller<'_> {
    /// Every target of the pool as "node ipv4 web: L4CON refused (3/3 failures)".
    fn probes(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (node, members) in self.pool.nodes.iter().zip(self.members) {
            for family in Family::ALL {
                for target in members[family].iter().map(|index| &self.targets.list[*index]) {
                    let (found, tally) = (target.found(), target.counter.tally(target.thresholds));
                    lines.push(format!("{} {family} {}: {found} ({tally})", node.name, target.target.check));
                }
            }
        }
        lines
    }
}

/// Families that went from one primary to another together.
struct Move {
    families: Vec<Family>,
    from: Option<usize>,
    to: Option<usize>,
}

fn moves(pool: &Pool, before: Option<PoolRoles>, after: Option<PoolRoles>) -> Vec<Move> {
    let mut moves: Vec<Move> = Vec::new();
    let Some(after) = after else { return moves };
    let before = before.unwrap_or_default();
    for family in Family::ALL.into_iter().filter(|family| before[*family].primary != after[*family].primary) {
        let (from, to) = (mover(pool, &before, family), mover(pool, &after, family));
        match moves.iter_mut().find(|known| (known.from, known.to) == (from, to)) {
            Some(known) => known.families.push(family),
            None => moves.push(Move { families: vec![family], from, to }),
        }
    }
    moves
}

/// The primary to name for a family. Where the families move together, one that the primary has no
/// address of is withdrawn, and still moves with it: people hear of one move, not of two.
fn mover(pool: &Pool, roles: &PoolRoles, family: Family) -> Option<usize> {
    let together = pool.families != Families::Independent;
    let lacks = |node: &usize| together && !pool.nodes[*node].has(family);
    roles[family].primary.or_else(|| any_primary(*roles).filter(lacks))
}

/// The rule to tell of, where the families have different ones: what people must hear of first.
pub(super) fn leading(pool: &Pool, decision: &PoolDecision) -> Rule {
    let has = |family: &Family| pool.nodes.iter().any(|node| node.has(*family));
    let rules = || Family::ALL.into_iter().filter(has).map(|family| decision.rule[family]);
    let alarm = rules().find(|rule| rule.is_alarm());
    alarm.or_else(|| rules().find(|rule| *rule != Rule::Steady)).unwrap_or(Rule::Steady)
}

fn any_primary(roles: PoolRoles) -> Option<usize> {
    roles.ipv4.primary.or(roles.ipv6.primary)
}

fn any_standby(roles: PoolRoles) -> Option<usize> {
    roles.ipv4.standby.or(roles.ipv6.standby)
}

fn name(pool: &Pool, node: Option<usize>) -> Option<String> {
    node.map(|node| pool.nodes[node].name.clone())
}

fn seen(target: &TargetState) -> Seen {
    // Without a verdict there is no "since"; long ago is never used.
    let since_ms = target.since_ms.unwrap_or(i64::MIN);
    Seen { verdict: target.counter.verdict(), doubt: target.is_doubted(), since_ms }
}

/// Of several anchors one that is up is enough.
fn best(said: impl Iterator<Item = Verdict>) -> Option<Verdict> {
    said.reduce(|a, b| match (a, b) {
        (Verdict::Up, _) | (_, Verdict::Up) => Verdict::Up,
        (Verdict::Unknown, _) | (_, Verdict::Unknown) => Verdict::Unknown,
        (Verdict::Down, Verdict::Down) => Verdict::Down,
    })
}

/// Of two checks the one that counts: a node is up when all say so, down when one says so.
fn worse(a: Seen, b: Seen) -> Seen {
    let rank = |seen: Seen| match seen.verdict {
        Verdict::Down => 2,
        Verdict::Unknown => 1,
        Verdict::Up => 0,
    };
    match rank(a).cmp(&rank(b)) {
        Ordering::Greater => a,
        Ordering::Less => b,
        // Up since the last of them is up, down since the first of them is down; one of them casts
        // doubt on up, all of them on down.
        Ordering::Equal if a.verdict == Verdict::Up => {
            Seen { doubt: a.doubt || b.doubt, since_ms: a.since_ms.max(b.since_ms), ..a }
        }
        Ordering::Equal => Seen { doubt: a.doubt && b.doubt, since_ms: a.since_ms.min(b.since_ms), ..a },
    }
}

/// The roles that the zone files tell of; `None` unless they tell of a primary, or that it is
/// withdrawn, and agree.
fn roles_in_files(index: usize, settings: &Settings) -> Option<PoolRoles> {
    let mut told = PoolToldRoles::default();
    for zone in &settings.zones {
        let Some(at) = zone.pools.iter().position(|pool| *pool == index) else { continue };
        let found = (*zone.roles_in_file.get(at)?)?;
        for family in Family::ALL {
            merge(&mut told[family].primary, found[family].primary)?;
            merge(&mut told[family].standby, found[family].standby)?;
        }
    }
    Family::ALL.into_iter().find(|family| told[*family].primary != Told::Nothing)?;
    let pool = &settings.pools[index];
    if pool.families == Families::Together {
        complete(pool, &mut told);
    }
    let roles = |told: ToldRoles| Roles { primary: told.primary.node(), standby: told.standby.node() };
    Some(PerFamily::from_fn(|family| roles(told[family])))
}

/// `None` if both say something and it differs.
fn merge(known: &mut Told, told: Told) -> Option<()> {
    match (*known, told) {
        (_, Told::Nothing) => Some(()),
        (Told::Nothing, told) => {
            *known = told;
            Some(())
        }
        (known, told) => (known == told).then_some(()),
    }
}

/// What no record of the files carries follows from what others do.
fn complete(pool: &Pool, told: &mut PoolToldRoles) {
    let of = |role: fn(&ToldRoles) -> Told| Family::ALL.into_iter().find_map(|family| role(&told[family]).node());
    let primary = of(|told| told.primary);
    let other = (0..pool.nodes.len()).find(|node| primary.is_some_and(|primary| primary != *node));
    let standby = of(|told| told.standby).or(other);
    for family in Family::ALL {
        let fill = |told: &mut Told, node: Option<usize>| {
            if let (Told::Nothing, Some(node)) = (*told, node.filter(|node| pool.nodes[*node].has(family))) {
                *told = Told::Node(node);
            }
        };
        fill(&mut told[family].primary, primary);
        fill(&mut told[family].standby, standby);
    }
}
