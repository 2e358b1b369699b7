//! The rows of the truth table above [`super::decide::decide`], by name.

/// The row of the truth table that was used.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Rule {
    Hold,
    Unconfirmed,
    Start,
    Steady,
    Unknown,
    Blind,
    Failover,
    Drain,
    Rotation,
    Preempt,
    Family,
    AllDownKeep,
    AllDownFirst,
    AllDownWithdraw,
    CutOff,
    MinHold,
}

impl Rule {
    /// One short word, for metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Rule::Hold => "hold",
            Rule::Unconfirmed => "unconfirmed",
            Rule::Start => "start",
            Rule::Steady => "steady",
            Rule::Unknown => "unknown",
            Rule::Blind => "blind",
            Rule::Failover => "failover",
            Rule::Drain => "drain",
            Rule::Rotation => "rotation",
            Rule::Preempt => "preempt",
            Rule::Family => "family",
            Rule::AllDownKeep => "all-down-keep",
            Rule::AllDownFirst => "all-down-first",
            Rule::AllDownWithdraw => "all-down-withdraw",
            Rule::CutOff => "cut-off",
            Rule::MinHold => "min-hold",
        }
    }

    /// Whether people must hear of it although nothing has moved.
    pub fn is_alarm(self) -> bool {
        matches!(self, Rule::AllDownKeep | Rule::AllDownFirst | Rule::AllDownWithdraw | Rule::CutOff | Rule::Blind)
    }

    /// Whether both roles stay as they are, the standby's too.
    pub(super) fn changes_nothing(self) -> bool {
        matches!(
            self,
            Rule::Unconfirmed | Rule::Unknown | Rule::Blind | Rule::AllDownKeep | Rule::CutOff | Rule::MinHold
        )
    }

    /// Whether the move was neither ordered nor planned: `min-hold` applies.
    pub(super) fn is_unplanned(self) -> bool {
        !matches!(self, Rule::Hold | Rule::Drain | Rule::Rotation | Rule::Start)
    }
}
