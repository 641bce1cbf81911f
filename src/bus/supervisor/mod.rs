//! The supervisor's policy: who is stopped and started again when a subsystem dies, and when that is given up.
//!
//! A tree, as in OTP: its leaves are subsystems, every inner node restarts its children by its strategy and
//! bears so many restarts in so long. One more, and it gives up: all below it is stopped and its own parent
//! treats it as a child that died. If the root gives up, the machine is to reboot, warm.
//!
//! It is a state machine and no more: deaths and the time go in, a list of [`Action`]s comes out, to be carried
//! out in that order. A start that fails is a death. Nothing is allocated after the tree is built.

mod intensity;
#[cfg(all(test, not(loom)))]
mod tests;

pub use intensity::Intensity;

use crate::error::{Error, Grow, Kind, Result, Subsystem};
use crate::platform::time::Instant;
use alloc::vec::Vec;
use intensity::History;

/// Which children are restarted when one dies. All stop in reverse order and start in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// That one.
    OneForOne,
    /// That one and those that started after it.
    RestForOne,
    /// All.
    OneForAll,
}

/// A node of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeId(usize);

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// End that subsystem, which runs.
    Stop(&'static str),
    /// Start that subsystem.
    Start(&'static str),
    /// Reset the machine, keeping what survives that.
    WarmReboot,
}

enum Role {
    Worker {
        alive: bool,
    },
    Supervisor {
        strategy: Strategy,
        history: History,
    },
}

struct Node {
    name: &'static str,
    parent: Option<NodeId>,
    children: Vec<NodeId>,
    role: Role,
}

/// The tree.
pub struct Supervisor {
    nodes: Vec<Node>,
    actions: Vec<Action>,
}

impl Supervisor {
    /// The root of every tree.
    pub const ROOT: NodeId = NodeId(0);

    /// A tree with nothing but its root.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn new(strategy: Strategy, intensity: Intensity) -> Result<Self> {
        let mut tree = Self {
            nodes: Vec::new(),
            actions: Vec::new(),
        };
        let history = History::new(intensity)?;
        tree.add(None, "root", Role::Supervisor { strategy, history })?;
        Ok(tree)
    }

    /// Adds a supervisor below another one, after its other children.
    ///
    /// # Errors
    /// `Duplicate` if a node has that name; `OutOfMemory`.
    pub fn supervisor(
        &mut self,
        parent: NodeId,
        name: &'static str,
        strategy: Strategy,
        intensity: Intensity,
    ) -> Result<NodeId> {
        let history = History::new(intensity)?;
        self.add(Some(parent), name, Role::Supervisor { strategy, history })
    }

    /// Adds a subsystem below a supervisor, after its other children.
    ///
    /// # Errors
    /// As [`Supervisor::supervisor`].
    pub fn worker(&mut self, parent: NodeId, name: &'static str) -> Result<NodeId> {
        self.add(Some(parent), name, Role::Worker { alive: false })
    }

    fn add(&mut self, parent: Option<NodeId>, name: &'static str, role: Role) -> Result<NodeId> {
        if self.nodes.iter().any(|node| node.name == name) {
            return Err(Error::new(Subsystem::Bus, Kind::Duplicate { name }));
        }
        let node = NodeId(self.nodes.len());
        self.nodes.try_reserve(1)?;
        // At most one stop and one start a node, and a reboot.
        self.actions.try_reserve(2 * node.0 + 3)?;
        if let Some(parent) = parent {
            let siblings = &mut self.nodes[parent.0];
            assert!(
                matches!(siblings.role, Role::Supervisor { .. }),
                "{name} below {}, which supervises nothing",
                siblings.name
            );
            siblings.children.try_push(node)?;
        }
        self.nodes.push_reserved(Node {
            name,
            parent,
            children: Vec::new(),
            role,
        });
        Ok(node)
    }

    /// The subsystem of that name.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        let is_it = |node: &Node| node.name == name && matches!(node.role, Role::Worker { .. });
        self.nodes.iter().position(is_it).map(NodeId)
    }

    /// Whether a subsystem should run, as far as what was decided.
    pub fn is_alive(&self, worker: NodeId) -> bool {
        matches!(self.nodes[worker.0].role, Role::Worker { alive: true })
    }

    /// What is to be done at first: start all, in order.
    pub fn start_all(&mut self) -> &[Action] {
        self.actions.clear();
        self.start_below(Self::ROOT);
        &self.actions
    }

    /// What is to be done at last: stop all, in reverse order.
    pub fn stop_all(&mut self) -> &[Action] {
        self.actions.clear();
        self.stop_below(Self::ROOT);
        &self.actions
    }

    /// What is to be done now that a subsystem died: nothing if it was not to run anyway.
    pub fn died(&mut self, worker: NodeId, now: Instant) -> &[Action] {
        self.actions.clear();
        let Role::Worker { alive } = &mut self.nodes[worker.0].role else {
            return &[];
        };
        if !core::mem::take(alive) {
            return &[];
        }
        let mut child = worker;
        loop {
            let Some(parent) = self.nodes[child.0].parent else {
                self.actions.push_reserved(Action::WarmReboot);
                break;
            };
            let Role::Supervisor { strategy, history } = &mut self.nodes[parent.0].role else {
                unreachable!("add() puts children below supervisors only");
            };
            if history.bears(now) {
                let strategy = *strategy;
                self.restart(parent, child, strategy);
                break;
            }
            self.stop_below(parent);
            child = parent;
        }
        &self.actions
    }

    fn restart(&mut self, parent: NodeId, child: NodeId, strategy: Strategy) {
        let children = &self.nodes[parent.0].children;
        let place = children.iter().position(|&other| other == child);
        let place = place.expect("add() lists a node with its parent");
        let affected = match strategy {
            Strategy::OneForOne => place..place + 1,
            Strategy::RestForOne => place..children.len(),
            Strategy::OneForAll => 0..children.len(),
        };
        for at in affected.clone().rev() {
            self.stop_below(self.nodes[parent.0].children[at]);
        }
        for at in affected {
            self.start_below(self.nodes[parent.0].children[at]);
        }
    }

    /// Starts a node and all below it, in order; supervisors among them begin with a clean record.
    fn start_below(&mut self, node: NodeId) {
        let Node { name, role, .. } = &mut self.nodes[node.0];
        match role {
            Role::Worker { alive } => {
                *alive = true;
                self.actions.push_reserved(Action::Start(name));
            }
            Role::Supervisor { history, .. } => {
                history.clear();
                for at in 0..self.nodes[node.0].children.len() {
                    self.start_below(self.nodes[node.0].children[at]);
                }
            }
        }
    }

    /// Stops what runs of a node and all below it, in reverse order.
    fn stop_below(&mut self, node: NodeId) {
        let Node { name, role, .. } = &mut self.nodes[node.0];
        match role {
            Role::Worker { alive } => {
                if core::mem::take(alive) {
                    self.actions.push_reserved(Action::Stop(name));
                }
            }
            Role::Supervisor { .. } => {
                for at in (0..self.nodes[node.0].children.len()).rev() {
                    self.stop_below(self.nodes[node.0].children[at]);
                }
            }
        }
    }
}
