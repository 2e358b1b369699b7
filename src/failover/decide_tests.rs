//! The truth table above [`decide`], row by row.

use crate::health::family::{Family, PerFamily};
use crate::health::verdict::Verdict;

use super::decide::{Memory, NodeView, PoolDecision, Seen, View, decide};
use super::pool::{Families, Node, Pool, Preempt, Roles, Rotate, WhenAllDown};
use super::rotation;
use super::rule::Rule;

const MINUTE_MS: i64 = 60_000;
/// The present of these tests: well into a process that started long ago.
const NOW_MS: i64 = 1_000 * MINUTE_MS;
const WEEK_MS: i64 = 7 * 24 * 60 * MINUTE_MS;

/// A pool and everything its decision depends on, to be bent by each test.
struct Case {
    pool: Pool,
    memory: Memory,
    views: Vec<NodeView>,
    hold: Option<PerFamily<Option<usize>>>,
    confirmed: bool,
    anchors: PerFamily<Option<Verdict>>,
    patience_ms: u64,
    now_ms: i64,
    unix_ms: i64,
}

/// Nodes "a", "b", ... with both addresses, the first of them primary; `health` as for [`Case::see`].
fn case(health: &str) -> Case {
    let names = ["a", "b", "c", "d", "e"];
    let count = health.split(' ').count();
    let nodes = names[..count].iter().zip(1..).map(|(name, last)| Node {
        name: (*name).to_owned(),
        ipv4: Some([192, 0, 2, last].into()),
        ipv6: Some([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(last)].into()),
    });
    let pool = Pool {
        name: "web".to_owned(),
        nodes: nodes.collect(),
        checks: vec!["web".to_owned()],
        rotate: Rotate::Never,
        preempt: Preempt::After(5 * 60_000),
        ..Pool::default()
    };
    // Noon of Wednesday 2026-01-07, and on to a week in which the first node of two or three is first.
    let mut unix_ms = 1_767_787_200_000;
    while rotation::offset(rotation::week(unix_ms), 2) != 0 || rotation::offset(rotation::week(unix_ms), 3) != 0 {
        unix_ms += WEEK_MS;
    }
    let mut case = Case {
        views: vec![NodeView::default(); pool.nodes.len()],
        pool,
        memory: Memory::default(),
        hold: None,
        confirmed: true,
        anchors: PerFamily::default(),
        patience_ms: 30_000,
        now_ms: NOW_MS,
        unix_ms,
    };
    case.see(health, 0);
    case.primary(Some(0), Some(1));
    case
}

impl Case {
    /// One word for each node, a letter for each family: `u`p, `d`own, `?` unknown, `-` not probed;
    /// `U` and `D`: the last probe says otherwise;
    /// a trailing `x` drains it. Seen since `since_ms`.
    fn see(&mut self, health: &str, since_ms: i64) {
        for (view, word) in self.views.iter_mut().zip(health.split(' ')) {
            let letters: Vec<char> = word.chars().collect();
            view.drained = letters.get(2) == Some(&'x');
            for (family, letter) in Family::ALL.into_iter().zip(&letters) {
                let verdict = match letter {
                    'u' | 'U' => Some(Verdict::Up),
                    'd' | 'D' => Some(Verdict::Down),
                    '?' => Some(Verdict::Unknown),
                    _ => None,
                };
                let since_ms = match view.seen[family] {
                    Some(seen) if Some(seen.verdict) == verdict => seen.since_ms,
                    _ => since_ms,
                };
                let doubt = letter.is_ascii_uppercase();
                view.seen[family] = verdict.map(|verdict| Seen { verdict, doubt, since_ms });
            }
        }
    }

    fn primary(&mut self, primary: Option<usize>, standby: Option<usize>) {
        self.memory.roles = Some(PerFamily::from_fn(|_| Roles { primary, standby }));
    }

    fn decide(&self) -> PoolDecision {
        let view = View {
            nodes: &self.views,
            hold: self.hold,
            confirmed: self.confirmed,
            anchors: self.anchors,
            patience_ms: self.patience_ms,
            now_ms: self.now_ms,
            unix_ms: self.unix_ms,
        };
        decide(&self.pool, &self.memory, &view)
    }

    /// Decides and takes the decision over, as the director does.
    fn step(&mut self) -> PoolDecision {
        let decision = self.decide();
        self.memory = decision.memory;
        decision
    }
}

/// A decision as "a/b failover" (primary/standby, `-` for none), or "a/b c/d rule" with other roles
/// in IPv6.
fn text(decision: &PoolDecision) -> String {
    let Some(roles) = decision.memory.roles else { return "undecided".to_owned() };
    let name = |node: Option<usize>| node.map_or('-', |node| char::from(b'a' + node as u8));
    let of = |family: Family| format!("{}/{}", name(roles[family].primary), name(roles[family].standby));
    let (ipv4, ipv6) = (of(Family::Ipv4), of(Family::Ipv6));
    let rules = PerFamily::from_fn(|family| decision.rule[family].as_str());
    match (ipv4 == ipv6, rules.ipv4 == rules.ipv6) {
        (true, true) => format!("{ipv4} {}", rules.ipv4),
        (_, true) => format!("{ipv4} {ipv6} {}", rules.ipv4),
        (_, false) => format!("{ipv4} {} {ipv6} {}", rules.ipv4, rules.ipv6),
    }
}

#[track_caller]
fn check(case: &Case, wanted: &str) {
    assert_eq!(text(&case.decide()), wanted);
}

#[test]
fn the_operator_holds_a_node() {
    let mut case = case("uu uu");
    case.hold = Some(PerFamily { ipv4: Some(1), ipv6: Some(1) });
    check(&case, "b/a hold");
    // Down, drained, unconfirmed, or within min-hold: the operator's word is obeyed.
    case.see("uu ddx", NOW_MS);
    case.pool.min_hold_ms = 1_000_000;
    case.memory.moved_ms = PerFamily { ipv4: Some(NOW_MS), ipv6: Some(NOW_MS) };
    check(&case, "b/a hold");
    case.confirmed = false;
    case.memory.roles = None;
    check(&case, "b/a hold");
}

#[test]
fn no_full_round_has_ended() {
    let mut case = case("dd uu");
    case.confirmed = false;
    check(&case, "a/b unconfirmed");
    case.memory.roles = None;
    check(&case, "undecided");
}

#[test]
fn there_is_no_primary_yet() {
    let mut case = case("uu uu uu");
    case.memory.roles = None;
    check(&case, "a/b start");
    case.see("dd uu uu", NOW_MS);
    check(&case, "b/c start");
    case.see("dd dd dd", NOW_MS);
    check(&case, "a/b start");
    case.see("ddx dd dd", NOW_MS);
    check(&case, "b/c start");
    // Nothing is withdrawn because the operator has drained them all, and then that is the end of it.
    case.see("uux uux uux", NOW_MS);
    check(&case, "a/b start");
    case.step();
    assert_eq!((text(&case.step()).as_str(), case.decide().review_ms), ("a/b steady", None));
}

#[test]
fn the_answer_is_withdrawn() {
    let mut case = case("dd uu");
    case.pool.when_all_down = WhenAllDown::Withdraw;
    case.primary(None, None);
    check(&case, "b/a failover");
    case.see("dd dd", NOW_MS);
    check(&case, "-/- all-down-withdraw");
}

#[test]
fn the_primary_is_drained() {
    let mut case = case("uux uu uu");
    check(&case, "b/c drain");
    // Nobody to go to: it stays, whatever the policy for a pool that is down.
    case.pool.when_all_down = WhenAllDown::Withdraw;
    case.see("uux dd dd", NOW_MS);
    check(&case, "a/b steady");
}

#[test]
fn the_primary_is_down() {
    let mut case = case("dd uu uu");
    check(&case, "b/c failover");
    // Down over one family is down, with the families together.
    case.see("ud uu uu", NOW_MS);
    check(&case, "b/c failover");
    case.see("dd ud uu", NOW_MS);
    check(&case, "c/a failover");
    case.see("dd uux uu", NOW_MS);
    check(&case, "c/a failover");
    // Of nothing is known too little to go there.
    case.see("dd ?u uu", NOW_MS);
    check(&case, "c/a failover");
    case.see("dd -- uu", NOW_MS);
    check(&case, "c/a failover");
}

#[test]
fn of_some_candidate_nothing_is_known() {
    for policy in [WhenAllDown::Keep, WhenAllDown::First, WhenAllDown::Withdraw] {
        let mut case = case("dd ??");
        case.pool.when_all_down = policy;
        check(&case, "a/b unknown");
    }
}

#[test]
fn it_is_waited_in_vain() {
    // The standby tells nothing while the primary is down; nothing is known of the primary; of nobody.
    for health in ["dd ??", "?? uu", "?? ??"] {
        let mut case = case(health);
        let first = case.step();
        assert_eq!((text(&first), first.review_ms), ("a/b unknown".to_owned(), Some(NOW_MS + 30_000)), "{health}");
        case.now_ms += 29_999;
        assert_eq!(text(&case.step()), "a/b unknown", "{health}");
        case.now_ms += 1;
        let told = case.step();
        assert_eq!((text(&told), told.review_ms), ("a/b blind".to_owned(), None), "{health}");
        assert!(told.rule.ipv4.is_alarm());
        // Something is known again, and then no more: it is waited anew.
        case.see("uu uu", NOW_MS);
        assert_eq!(text(&case.step()), "a/b steady");
        case.see(health, NOW_MS);
        assert_eq!(text(&case.step()), "a/b unknown");
    }
}

#[test]
fn we_are_cut_off() {
    for policy in [WhenAllDown::Keep, WhenAllDown::First, WhenAllDown::Withdraw] {
        let mut case = case("dd dd");
        case.primary(Some(1), Some(0));
        case.pool.when_all_down = policy;
        case.anchors = PerFamily { ipv4: Some(Verdict::Down), ipv6: None };
        check(&case, "b/a cut-off");
        // They were not asked since the last node went down.
        case.anchors.ipv6 = Some(Verdict::Unknown);
        check(&case, "b/a unknown");
    }
    // One node answers: it is not our network.
    let mut case = case("dd uu");
    case.anchors = PerFamily::from_fn(|_| Some(Verdict::Down));
    check(&case, "b/a failover");
}

/// Our own network dies, and all that we look at goes down, one after the other: nothing moves.
#[test]
fn who_is_in_doubt_is_waited_for() {
    let mut case = case("dd uU uu");
    check(&case, "c/b failover");
    case.see("dd Uu uU", NOW_MS);
    check(&case, "a/b unknown");
    case.see("dd dd uU", NOW_MS);
    check(&case, "a/b unknown");
    case.see("dd dd dd", NOW_MS);
    check(&case, "a/b all-down-keep");
    // And it comes back, one after the other.
    case.see("DD uu dd", NOW_MS);
    check(&case, "a/b unknown");
    case.see("Dd uu dd", NOW_MS);
    check(&case, "b/a failover");
    case.see("uu uu dd", NOW_MS);
    check(&case, "a/b steady");
}

/// Our own host has no IPv6 (any more), and so no node is up over it.
#[test]
fn a_family_over_which_nobody_is_up_has_no_say() {
    for letter in ['d', '?'] {
        let health = |text: &str| text.replace('6', &letter.to_string());
        for families in [Families::Together, Families::Withdraw] {
            let mut case = case(&health("u6 u6 u6"));
            case.pool.families = families;
            check(&case, "a/b steady");
            case.see(&health("d6 u6 u6"), NOW_MS);
            let decision = case.decide();
            // AAAA goes with A: nothing is withdrawn.
            assert_eq!(text(&decision), "b/c failover", "{families:?} {letter}");
            assert_eq!(decision.silent, PerFamily { ipv4: false, ipv6: true });
            case.see(&health("d6 d6 d6"), NOW_MS);
            let decision = case.decide();
            assert_eq!(
                (text(&decision).as_str(), decision.silent),
                match letter {
                    'd' => ("a/b all-down-keep", PerFamily::default()),
                    _ if families == Families::Withdraw => ("a/b unknown", PerFamily::default()),
                    _ => ("a/b all-down-keep", PerFamily::default()),
                }
            );
        }
    }
    // An anchor over IPv6 is up: it is not our network, and what is broken there counts.
    let mut case = case("ud ud");
    case.pool.families = Families::Withdraw;
    case.anchors.ipv6 = Some(Verdict::Up);
    check(&case, "a/b -/- family");
}

/// Where the only nodes that have a family are dead altogether, nothing speaks against our own network.
#[test]
fn a_family_is_not_suspect_when_its_nodes_are_dead() {
    for families in [Families::Together, Families::Withdraw] {
        let mut case = case("uu u- u-");
        case.pool.families = families;
        for (health, silent) in [
            // Its IPv4 is up: who is broken, the node or we?
            ("ud u- u-", true),
            ("u? u- u-", true),
            // That is about to be known.
            ("Ud u- u-", false),
            ("dd u- u-", false),
            ("Dd u- u-", false),
            ("d? u- u-", false),
            // One of two is dead, the other is not.
            ("dd ud u-", true),
            ("dd dd u-", false),
        ] {
            case.see(health, NOW_MS);
            let told = PerFamily { ipv4: false, ipv6: silent };
            assert_eq!(case.decide().silent, told, "{families:?} {health}");
        }
    }
}

#[test]
fn nobody_is_up() {
    let mut case = case("dd dd dd");
    case.primary(Some(1), Some(2));
    check(&case, "b/c all-down-keep");
    // One anchor is enough.
    case.anchors = PerFamily { ipv4: Some(Verdict::Up), ipv6: Some(Verdict::Down) };
    check(&case, "b/c all-down-keep");
    case.pool.when_all_down = WhenAllDown::First;
    check(&case, "a/b all-down-first");
    case.see("ddx dd dd", NOW_MS);
    check(&case, "b/c all-down-first");
    case.pool.when_all_down = WhenAllDown::Withdraw;
    check(&case, "-/- all-down-withdraw");
}

#[test]
fn a_new_week_begins() {
    let mut case = case("uu uu uu");
    case.pool.rotate = Rotate::Weekly;
    case.pool.preempt = Preempt::Never;
    assert_eq!(text(&case.step()), "a/b steady");
    case.unix_ms += WEEK_MS;
    // Planned: min-hold does not delay it.
    case.pool.min_hold_ms = 3_600_000;
    case.memory.moved_ms = PerFamily::from_fn(|_| Some(NOW_MS));
    assert_eq!(text(&case.step()), "b/c rotation");
    assert_eq!(text(&case.step()), "b/c steady");
    // The node whose turn it is is down: the next in turn that is up, which is b itself.
    case.unix_ms += WEEK_MS;
    case.see("uu uu dd", NOW_MS);
    assert_eq!(text(&case.step()), "a/b rotation", "order c a b: a is better than b, c is down");
}

#[test]
fn a_rotation_that_could_not_be_waits_for_preempt() {
    let mut case = case("uu dd");
    case.pool.rotate = Rotate::Weekly;
    case.step();
    case.unix_ms += WEEK_MS;
    assert_eq!(text(&case.step()), "a/b steady", "it is b's week, but b is down");
    case.see("uu uu", NOW_MS);
    let decision = case.step();
    assert_eq!((text(&decision).as_str(), decision.review_ms), ("a/b steady", Some(NOW_MS + 5 * MINUTE_MS)));
    case.now_ms += 5 * MINUTE_MS;
    assert_eq!(text(&case.step()), "b/a preempt");
}

#[test]
fn a_better_node_is_up_again() {
    let mut case = case("uu uu uu");
    case.primary(Some(2), Some(0));
    case.see("dd uu uu", 0);
    case.see("uu uu uu", NOW_MS - MINUTE_MS);
    // b has been up for long, a for a minute.
    let decision = case.decide();
    assert_eq!(text(&decision), "b/a preempt");
    assert_eq!(decision.review_ms, Some(NOW_MS + 4 * MINUTE_MS), "a is not forgotten over the move to b");
    case.memory = decision.memory;
    let decision = case.decide();
    assert_eq!((text(&decision).as_str(), decision.review_ms), ("b/a steady", Some(NOW_MS + 4 * MINUTE_MS)));
    case.now_ms += 4 * MINUTE_MS;
    check(&case, "a/b preempt");
    case.pool.preempt = Preempt::Never;
    check(&case, "b/a steady");
    // Up over each family for the whole time.
    case.pool.preempt = Preempt::After(5 * 60_000);
    case.see("du uu uu", NOW_MS);
    case.see("uu uu uu", NOW_MS + MINUTE_MS);
    check(&case, "b/a steady");
    // A drained node is never better.
    case.now_ms += WEEK_MS;
    case.see("uux uu uu", 0);
    check(&case, "b/c steady");
}

#[test]
fn nothing_is_known_of_the_primary() {
    let mut case = case("?u uu");
    check(&case, "a/b unknown");
    case.see("?? ??", NOW_MS);
    check(&case, "a/b unknown");
    case.see("?? dd", NOW_MS);
    check(&case, "a/b unknown");
}

#[test]
fn the_primary_is_up() {
    check(&case("uu uu"), "a/b steady");
    check(&case("uu dd"), "a/b steady");
    check(&case("uu dd uu"), "a/c steady");
    check(&case("uu dd dd"), "a/b steady");
    check(&case("uu uux uu"), "a/c steady");
    check(&case("uu uux ddx"), "a/b steady");
}

#[test]
fn a_single_node() {
    check(&case("uu"), "a/- steady");
    // Unchanged is unchanged, the standby of before included.
    check(&case("dd"), "a/b all-down-keep");
}

#[test]
fn min_hold() {
    let mut case = case("dd uu");
    case.pool.min_hold_ms = 600_000;
    // The first move is free.
    assert_eq!(text(&case.step()), "b/a failover");
    case.now_ms += MINUTE_MS;
    case.see("uu dd", case.now_ms);
    let decision = case.step();
    assert_eq!((text(&decision).as_str(), decision.review_ms), ("b/a min-hold", Some(NOW_MS + 600_000)));
    case.now_ms = NOW_MS + 600_000;
    assert_eq!(text(&case.step()), "a/b failover");
    // Withdrawing is a move, too.
    case.pool.when_all_down = WhenAllDown::Withdraw;
    case.see("dd dd", case.now_ms);
    assert_eq!(text(&case.step()), "a/b min-hold");
    // What was ordered or planned neither waits nor makes others wait.
    case.see("ddx uu", case.now_ms);
    assert_eq!(text(&case.step()), "b/a drain");
    assert_eq!(case.memory.moved_ms.ipv4, Some(NOW_MS + 600_000));
}

#[test]
fn families_independent() {
    let mut case = case("du uu");
    case.pool.families = Families::Independent;
    check(&case, "b/a failover a/b steady");
    case.see("du ud", NOW_MS);
    assert_eq!(text(&case.step()), "b/a failover a/b steady");
    case.see("dd ud", NOW_MS);
    check(&case, "b/a steady a/b all-down-keep");
    // Each family waits on its own.
    case.pool.min_hold_ms = 600_000;
    case.see("uu du", NOW_MS);
    check(&case, "b/a min-hold a/b steady");
}

#[test]
fn independent_without_addresses() {
    let mut case = case("d- u-");
    case.pool.families = Families::Independent;
    case.pool.nodes.iter_mut().for_each(|node| node.ipv6 = None);
    case.memory.roles = None;
    case.confirmed = false;
    check(&case, "undecided");
    case.confirmed = true;
    assert_eq!(text(&case.decide()), "b/a start -/- steady");
}

#[test]
fn families_withdraw() {
    let mut case = case("ud uu");
    case.pool.families = Families::Withdraw;
    // The site stays, only AAAA goes.
    assert_eq!(text(&case.step()), "a/b -/b family");
    assert_eq!(text(&case.step()), "a/b -/b steady");
    // What is not known stays as it was.
    case.see("u? uu", NOW_MS);
    check(&case, "a/b -/b steady");
    case.see("dd uu", NOW_MS);
    check(&case, "b/a failover");
    // Nobody up: nothing more is taken away.
    case.see("dd dd", NOW_MS);
    check(&case, "a/b -/b all-down-keep");
    case.see("uu ud", NOW_MS);
    check(&case, "a/b a/- family");
    // Nobody is up over IPv6, and a, which had lost it before, changes its role: it is not given back
    // by the second look what the first has left withdrawn.
    case.see("udx ud", NOW_MS);
    assert_eq!(text(&case.step()), "b/a b/- drain");
    assert_eq!(text(&case.step()), "b/a b/- steady");
}

#[test]
fn a_node_without_an_address_of_a_family() {
    let mut case = case("dd u-");
    case.pool.nodes[1].ipv6 = None;
    check(&case, "b/a -/a failover");
    case.see("uu u-", NOW_MS);
    check(&case, "a/b a/- steady");
}

#[test]
fn a_pool_without_probes() {
    let mut case = case("-- --");
    case.primary(Some(1), Some(0));
    check(&case, "b/a steady");
    case.pool.rotate = Rotate::Weekly;
    assert_eq!(text(&case.step()), "a/b rotation");
    case.unix_ms += WEEK_MS;
    assert_eq!(text(&case.step()), "b/a rotation");
    case.hold = Some(PerFamily { ipv4: Some(0), ipv6: Some(0) });
    assert_eq!(text(&case.step()), "a/b hold");
    case.hold = None;
    assert_eq!(text(&case.step()), "a/b steady");
}

#[test]
fn every_rule_has_its_own_word() {
    let rules = [
        Rule::Hold,
        Rule::Unconfirmed,
        Rule::Start,
        Rule::Steady,
        Rule::Unknown,
        Rule::Blind,
        Rule::Failover,
        Rule::Drain,
        Rule::Rotation,
        Rule::Preempt,
        Rule::Family,
        Rule::AllDownKeep,
        Rule::AllDownFirst,
        Rule::AllDownWithdraw,
        Rule::CutOff,
        Rule::MinHold,
    ];
    let words: std::collections::BTreeSet<&str> = rules.iter().map(|rule| rule.as_str()).collect();
    assert_eq!(words.len(), rules.len());
}
