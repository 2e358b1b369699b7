//! One decision about each of 1,000 pools of 5 nodes: `cargo bench --bench decide`.
//! To hold: at most 1 ms for all (median); else the exit status is 1.

#[path = "shared/verdict.rs"]
mod verdict;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use nsd_failover::failover::decide::{Memory, NodeView, Seen, View, decide};
use nsd_failover::failover::pool::{Node, Pool, Preempt, Rotate};
use nsd_failover::health::family::PerFamily;
use nsd_failover::health::verdict::Verdict;

const POOLS: usize = 1_000;
const NODES: u8 = 5;
const ROUNDS: u32 = 1_000;
const HOLD_MS: f64 = 1.0;

fn main() -> ExitCode {
    let node = |index: u8| Node {
        name: format!("node{index}"),
        ipv4: Some([192, 0, 2, index].into()),
        ipv6: Some([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(index)].into()),
    };
    let pool = Pool {
        name: "web".to_owned(),
        nodes: (1..=NODES).map(node).collect(),
        checks: vec!["web".to_owned()],
        rotate: Rotate::Weekly,
        preempt: Preempt::After(300_000),
        ..Pool::default()
    };
    // Each pool another picture: one of its nodes is down, or none.
    let views: Vec<Vec<NodeView>> = (0..POOLS)
        .map(|index| {
            let seen = |at: usize| {
                let verdict = if index % 6 == at { Verdict::Down } else { Verdict::Up };
                Some(Seen { verdict, doubt: false, since_ms: 0 })
            };
            let view = |at: usize| NodeView { seen: PerFamily::from_fn(|_| seen(at)), drained: false };
            (0..usize::from(NODES)).map(view).collect()
        })
        .collect();
    let mut memories = vec![Memory::default(); POOLS];
    let mut took = Vec::new();
    for round in 0..ROUNDS {
        let started = Instant::now();
        for (memory, nodes) in memories.iter_mut().zip(&views) {
            let now_ms = 1_000_000 + i64::from(round) * 1_000;
            let anchors = PerFamily::default();
            let view = View {
                nodes,
                hold: None,
                confirmed: true,
                anchors,
                patience_ms: 30_000,
                now_ms,
                unix_ms: 1_767_700_800_000 + now_ms,
            };
            *memory = black_box(decide(black_box(&pool), memory, &view)).memory;
        }
        took.push(started.elapsed());
    }
    took.sort();
    println!("decide, {POOLS} pools of {NODES} nodes: median {:?}, 99th percentile {:?}", took[500], took[990]);
    let mut verdict = verdict::Verdict::default();
    verdict.at_most("decide, median", took[500].as_secs_f64() * 1_000.0, HOLD_MS, " ms");
    verdict.exit_code()
}
