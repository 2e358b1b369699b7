//! Pools and nodes as the decision and the table see them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::health::family::{Family, PerFamily};
use crate::zone::tag::Role;

/// A host that serves the content.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Node {
    pub name: String,
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
}

impl Node {
    /// Whether the node has an address of this family.
    pub fn has(&self, family: Family) -> bool {
        match family {
            Family::Ipv4 => self.ipv4.is_some(),
            Family::Ipv6 => self.ipv6.is_some(),
        }
    }
}

/// An ordered list of nodes with their policy. Other modules name a node by its index in `nodes`,
/// and a pool by its index in the list that they were given. The default is a pool of nobody that
/// moves only where it must; what a configuration leaves out is `config`'s business.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Pool {
    pub name: String,
    /// In order of preference.
    pub nodes: Vec<Node>,
    /// Names of the checks; empty: only orders and the rotation move the pool.
    pub checks: Vec<String>,
    pub rotate: Rotate,
    pub preempt: Preempt,
    pub when_all_down: WhenAllDown,
    pub families: Families,
    /// Least time between two transitions that were not ordered or planned, in milliseconds.
    pub min_hold_ms: u64,
    /// With it set, an answer's TTL never outlives the next moment at which it can change.
    pub ttl_min_s: Option<u32>,
    /// Servers beyond our own network that are up unless we are cut off: a TCP connection tells.
    pub anchors: Vec<SocketAddr>,
}

/// Whether the order of preference turns with the calendar.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Rotate {
    #[default]
    Never,
    /// By one each week, counted in whole weeks since Monday 1970-01-05 00:00 UTC.
    Weekly,
}

/// When a better node that is up again takes over.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Preempt {
    /// After it has been up for this long, in milliseconds.
    After(u64),
    /// Only on order, or when the rotation says so.
    #[default]
    Never,
}

/// What is answered when no node is up.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum WhenAllDown {
    /// What was answered before.
    #[default]
    Keep,
    /// The first node in order of preference.
    First,
    /// Nothing: NODATA.
    Withdraw,
}

/// How the two address families go together.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Families {
    /// A node is up when it is up over each family it is probed over; both move together.
    #[default]
    Together,
    /// Each family has its own primary.
    Independent,
    /// The pool moves with the node; a family that is down alone is answered with NODATA.
    Withdraw,
}

/// The nodes that hold the two roles in one family, as indexes into [`Pool::nodes`].
/// `None`: nothing is answered for the role (withdrawn).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Roles {
    pub primary: Option<usize>,
    pub standby: Option<usize>,
}

/// The roles of one pool.
pub type PoolRoles = PerFamily<Roles>;

/// What the records of a zone file tell of who holds a role in one family.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Told {
    /// No record follows the role.
    #[default]
    Nothing,
    /// All that do are commented out as withdrawn: nobody holds it.
    Withdrawn,
    /// The node (index into [`Pool::nodes`]) whose address they carry.
    Node(usize),
}

impl Told {
    pub fn node(self) -> Option<usize> {
        match self {
            Told::Node(node) => Some(node),
            Told::Nothing | Told::Withdrawn => None,
        }
    }
}

/// Both roles of one family, as a zone file tells of them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ToldRoles {
    pub primary: Told,
    pub standby: Told,
}

impl From<Roles> for ToldRoles {
    fn from(roles: Roles) -> ToldRoles {
        let told = |node: Option<usize>| node.map_or(Told::Nothing, Told::Node);
        ToldRoles { primary: told(roles.primary), standby: told(roles.standby) }
    }
}

/// The roles of one pool, as a zone file tells of them.
pub type PoolToldRoles = PerFamily<ToldRoles>;

/// What a failover record follows: the holder of a role in a pool (an index into the settings).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Slot {
    pub pool: usize,
    pub role: Role,
}
