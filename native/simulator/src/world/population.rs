//! Who takes part: callers with their scripts, and when they come.

use super::{Event, Place, WorkerId, World};
use crate::network::Weather;
use crate::peer::Peer;
use crate::plan::{ExchangePlan, Goodbye, MS, Step, Temper};
use gatewayx_engine::Key;

impl World {
    pub(super) fn populate(&mut self) {
        let span_ns = self.rng.pick(&[1, 50, 2_000]) * MS;
        for _ in 0..self.rng.between(1, 16) {
            let calm = self.layout.temper == Temper::Calm;
            let mut exchanges = Vec::new();
            let burst = self.rng.chance(5);
            for _ in 0..self.rng.between(1, if burst { 40 } else { 6 }) {
                let number = self.plans.len() as u64;
                let plan = ExchangePlan::draw(self.seed, number, &self.layout);
                let is_last = plan.is_last();
                exchanges.push(number);
                self.plans.push(plan);
                if is_last && (calm || self.rng.chance(50)) {
                    break;
                }
            }
            let at_ns = self.now_ns + self.rng.below(span_ns);
            self.schedule(at_ns, Event::CallerComes(self.callers.len()));
            self.callers.push(exchanges);
        }
        self.plan_chores(span_ns);
    }

    pub(super) fn open_caller(&mut self, index: usize) {
        if !self.accepts {
            return;
        }
        let exchanges = self.callers[index].clone();
        let script = self.script(&exchanges);
        let methods: Vec<&str> = exchanges
            .iter()
            .map(|&number| self.plans[number as usize].request.method)
            .collect();
        self.connect(Peer::caller(exchanges, &methods, script));
    }

    /// A caller connects to whichever worker is first to accept it.
    pub(super) fn connect(&mut self, peer: Peer) -> Place {
        let living = self.living();
        let id = self.rng.pick(&living);
        let weather = self.weather();
        let gateway = self.gateway(id);
        gateway.window_bytes = weather.window_bytes;
        let place = (id, gateway.open_downstream());
        self.link(place, weather, peer);
        self.advance_peer(place);
        place
    }

    pub(super) fn open_target(&mut self, id: WorkerId, key: Key) {
        let weather = self.weather();
        let gateway = self.gateway(id);
        gateway.window_bytes = weather.window_bytes;
        if let Some(conn) = gateway.complete_dial(key) {
            self.link((id, conn), weather, Peer::target());
        }
    }

    fn weather(&mut self) -> Weather {
        if self.healed {
            return Weather::perfect();
        }
        let grain_bytes = self.layout.bodies_max_bytes / 300;
        Weather::draw(&mut self.rng, self.layout.temper, grain_bytes)
    }

    /// The script of a caller.
    fn script(&mut self, exchanges: &[u64]) -> Vec<Step> {
        let rough = self.layout.temper == Temper::Rough;
        let depth = if self.rng.chance(25) {
            self.rng.between(2, 40)
        } else {
            1
        } as usize;
        let mut steps = Vec::new();
        for (index, &number) in exchanges.iter().enumerate() {
            let plan = &self.plans[number as usize];
            let (request, response) = (&plan.request, &plan.response);
            let awaited = if request.expects_continue || request.upgrades {
                index
            } else {
                (index + 1).saturating_sub(depth)
            };
            steps.push(Step::AwaitResponses(awaited));
            let deaf = if rough {
                self.rng.chance(8)
            } else {
                depth == 1 && self.rng.chance(10) && response.waits_for_request(request)
            };
            if deaf {
                steps.push(Step::Read(false));
            }
            steps.extend(request.steps(&mut self.rng, number, &plan.id));
            if deaf && !(rough && self.rng.chance(30)) {
                if rough {
                    steps.push(Step::Wait(self.rng.below(3_000) * MS));
                }
                steps.push(Step::Read(true));
            }
        }
        steps.push(Step::AwaitResponses(exchanges.len()));
        let goodbye = match self.rng.below(10) {
            0 if rough => Goodbye::Reset,
            1 if rough => Goodbye::Silence,
            _ => Goodbye::Fin,
        };
        steps.push(Step::Leave(goodbye));
        steps
    }
}
