//! When a target's name leads elsewhere: connections to its former addresses serve nobody new.

use crate::engine::Engine;
use crate::output::CloseMode;
use crate::slab::Key;
use crate::upstream::UpstreamPhase;

impl Engine {
    /// Open connections to a name and port, idle or busy.
    pub fn upstreams_to(&self, host: &str, port: u16) -> Vec<Key> {
        self.upstreams
            .keys()
            .filter(|&key| {
                let upstream = &self.upstreams[key];
                let target = &self.targets[upstream.target as usize];
                upstream.phase != UpstreamPhase::Connecting
                    && target.port == port
                    && target.host == host
            })
            .collect()
    }

    /// The address of a target's connection is not the target's any more: an idle one is closed now, a busy one
    /// after its exchange.
    pub fn handle_upstream_moved(&mut self, key: Key) {
        let Some(upstream) = self.upstreams.find(key) else {
            return;
        };
        upstream.moved = true;
        if upstream.phase == UpstreamPhase::Idle {
            self.close_upstream(key, CloseMode::Graceful);
        }
    }
}
