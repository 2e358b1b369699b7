//! What becomes of a zone's exports when its rollbacks have ended. From the order on they are held, or
//! one that is due meanwhile would overwrite what is put back.

use std::collections::HashMap;

use crate::dns::name::Name;

/// The zones with rollbacks that were ordered and have not ended.
#[derive(Debug, Default)]
pub struct Holds {
    zones: HashMap<Name, Hold>,
}

#[derive(Debug)]
struct Hold {
    /// How many have not ended.
    rollbacks: usize,
    /// Whether exports wait for the operator after that.
    stays: bool,
}

impl Holds {
    /// A rollback is ordered; `is_held`: the zone's exports wait for the operator as it is.
    pub fn ordered(&mut self, origin: &Name, is_held: bool) {
        self.zones.entry(origin.clone()).or_insert(Hold { rollbacks: 0, stays: is_held }).rollbacks += 1;
    }

    /// One has ended, and an earlier generation is in service again (`put_back`) or nothing has happened.
    /// Whether the zone's exports are held from now on.
    pub fn ended(&mut self, origin: &Name, put_back: bool) -> bool {
        let Some(hold) = self.zones.get_mut(origin) else { return put_back };
        hold.stays |= put_back;
        hold.rollbacks -= 1;
        if hold.rollbacks > 0 {
            return true;
        }
        self.zones.remove(origin).is_some_and(|hold| hold.stays)
    }

    /// The operator lets the exports of a zone go on.
    pub fn released(&mut self, origin: &Name) {
        if let Some(hold) = self.zones.get_mut(origin) {
            hold.stays = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rollbacks that are ordered at once, and what each of them comes to: what is held in the end.
    fn after(is_held: bool, rollbacks: &[bool]) -> bool {
        let (mut holds, origin) = (Holds::default(), "example.org.".parse().unwrap());
        holds.ordered(&origin, is_held);
        // The first one holds the zone.
        rollbacks[1..].iter().for_each(|_| holds.ordered(&origin, true));
        let held: Vec<bool> = rollbacks.iter().map(|put_back| holds.ended(&origin, *put_back)).collect();
        assert!(held[..held.len() - 1].iter().all(|held| *held), "the next one is under way");
        assert!(holds.zones.is_empty());
        held[held.len() - 1]
    }

    #[test]
    fn what_was_not_put_back_holds_nothing() {
        for (rollbacks, held) in [
            (&[false][..], false),
            (&[true], true),
            (&[false, false], false),
            (&[true, false], true),
            (&[false, true], true),
        ] {
            assert_eq!(after(false, rollbacks), held, "{rollbacks:?}");
            assert!(after(true, rollbacks), "held before, {rollbacks:?}");
        }
    }

    #[test]
    fn who_lets_exports_go_on_is_obeyed() {
        let (mut holds, origin) = (Holds::default(), "example.org.".parse().unwrap());
        holds.released(&origin);
        holds.ordered(&origin, true);
        holds.released(&origin);
        assert!(!holds.ended(&origin, false));
    }
}
