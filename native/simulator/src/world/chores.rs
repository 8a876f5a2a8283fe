//! What operators do to a gateway, and crashes.

use gatewayx_engine::burial::release_slot;

use super::{Event, WorkerId, World};
use crate::network::Parcel;
use crate::plan::{MS, Temper};
use crate::trace;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chore {
    /// A new configuration, for one worker after the other.
    Reload,
    /// This worker gets it.
    Configure(WorkerId),
    Drain,
    ShutDown,
    /// A timer goes off that nobody has armed.
    EarlyTimer,
    /// The name of a target leads elsewhere.
    Move,
    /// A worker dies, and another takes its place.
    Crash,
}

impl World {
    pub(super) fn plan_chores(&mut self, span_ns: u64) {
        if self.rng.chance(20) {
            self.plan_chore(span_ns, Chore::Reload);
        }
        if self.rng.chance(20) {
            self.plan_chore(span_ns, Chore::EarlyTimer);
        }
        if self.rng.chance(20) {
            self.plan_chore(span_ns, Chore::Move);
        }
        if self.layout.temper == Temper::Calm {
            return;
        }
        if self.rng.chance(15) {
            let chore = self
                .rng
                .pick(&[Chore::Drain, Chore::Drain, Chore::ShutDown]);
            self.plan_chore(span_ns, chore);
        }
        if self.workers.len() > 1 && self.rng.chance(50) {
            self.plan_chore(span_ns, Chore::Crash);
        }
    }

    fn plan_chore(&mut self, span_ns: u64, chore: Chore) {
        let at_ns = self.now_ns + self.rng.below(2 * span_ns);
        self.schedule(at_ns, Event::Chore(chore));
    }

    pub(super) fn do_chore(&mut self, chore: Chore) {
        match chore {
            Chore::Reload => {
                self.cfg = self.layout.redraw(&mut self.rng);
                self.limits_exact = false;
                for id in self.living() {
                    let at_ns = self.now_ns + self.rng.below(20 * MS);
                    self.schedule(at_ns, Event::Chore(Chore::Configure(id)));
                }
            }
            Chore::Configure(id) if self.workers[id].is_alive => {
                let cfg = self.cfg.clone();
                self.gateway(id).configure(&cfg);
            }
            Chore::Configure(_) => {}
            Chore::Drain | Chore::ShutDown => {
                self.accepts = false;
                for id in self.living() {
                    match chore {
                        Chore::Drain => self.gateway(id).start_draining(),
                        _ => self.gateway(id).shut_down(),
                    }
                }
            }
            Chore::EarlyTimer => {
                for id in self.living() {
                    self.gateway(id).fire_timer();
                }
            }
            Chore::Move => {
                let host = format!("target-{}", self.rng.below(3));
                for id in self.living() {
                    self.gateway(id).move_target(&host);
                }
            }
            Chore::Crash => self.crash(),
        }
    }

    /// A worker is gone from one moment to the next: its kernel ends its connections, the supervisor gives
    /// back what it held, starts another in its slot, and tells the others to look.
    fn crash(&mut self) {
        let living = self.living();
        let id = self.rng.pick(&living);
        self.workers[id].is_alive = false;
        let gateway = &self.workers[id].gateway;
        let slot = gateway.slot;
        self.departed.add(&gateway.tally().past());
        if self.traces {
            println!("{}", trace::line(self.now_ns, slot, format_args!("crash")));
        }
        let places: Vec<_> = self
            .links
            .keys()
            .copied()
            .filter(|place| place.0 == id)
            .collect();
        for place in places {
            let Some(link) = self.links.get_mut(&place) else {
                continue;
            };
            if !std::mem::replace(&mut link.gateway_gone, true) {
                let parcel = self.rng.pick(&[0, 1]);
                let parcel = [Parcel::Fin, Parcel::Reset][parcel].clone();
                link.to_peer
                    .end(self.now_ns, parcel, &link.weather, &mut self.rng);
                self.expect_at_peer(place, 0);
            }
        }
        release_slot(&self.region, slot);
        self.start_worker(slot);
        if !self.accepts {
            let fresh = self.workers.len() - 1;
            self.gateway(fresh).start_draining();
        }
        for other in living {
            let woken = self.workers[other].gateway.slot;
            self.schedule(self.now_ns, Event::WorkerIsWoken(woken));
        }
    }
}
