//! The resources of this machine: jobs, GPUs and memory. Memory is what stages declare; it is not measured.

use crate::plan::{Plan, Resources};

pub struct Slots {
    jobs: usize,
    free: Resources,
}

impl Slots {
    pub fn new(jobs: usize, capacity: Resources) -> Slots {
        Slots { jobs: jobs.max(1), free: capacity }
    }

    /// No resources, for a look, which begins nothing.
    pub fn none() -> Slots {
        Slots { jobs: 0, free: Resources::default() }
    }

    pub fn has_job(&self) -> bool {
        self.jobs > 0
    }

    /// Takes resources. Returns false, and takes none, if they are not free.
    pub fn take(&mut self, wanted: Resources) -> bool {
        let fits = self.has_job() && wanted.gpu <= self.free.gpu && wanted.memory <= self.free.memory;
        if fits {
            self.jobs -= 1;
            self.free.gpu -= wanted.gpu;
            self.free.memory -= wanted.memory;
        }
        fits
    }

    pub fn give_back(&mut self, taken: Resources) {
        self.jobs += 1;
        self.free.gpu += taken.gpu;
        self.free.memory += taken.memory;
    }
}

/// A sentence about the first stage that asks for more than the capacity: it would wait for ever.
pub fn too_large(plan: &Plan, capacity: Resources) -> Option<String> {
    let gib = |bytes: u64| format!("{:.1} GiB", bytes as f64 / (1_u64 << 30) as f64);
    plan.stages.iter().find_map(|stage| {
        let Resources { gpu, memory } = stage.resources;
        if gpu > capacity.gpu {
            return Some(format!("`{}` asks for gpu: {gpu}, and there is {}; `--resources gpu={gpu}` says that there are more", stage.name, capacity.gpu));
        }
        let (asked, there) = (gib(memory), gib(capacity.memory));
        (memory > capacity.memory).then(|| {
            format!("`{}` asks for {asked} of memory, and there are {there}; `--resources memory=SIZE` says that there is more", stage.name)
        })
    })
}

/// One GPU and the memory of this machine; unbounded if the system does not report its memory.
pub fn of_this_machine() -> Resources {
    Resources { gpu: 1, memory: memory("MemTotal").unwrap_or(u64::MAX) }
}

/// The bytes that the system reports under this name; `None` if it does not.
pub fn memory(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    let (_, amount) = fields.find(|(field, _)| *field == name)?;
    amount.trim().strip_suffix("kB")?.trim().parse().ok().map(|kib: u64| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_takes_nothing() {
        let gpu = |gpu| Resources { gpu, memory: 0 };
        let mut slots = Slots::new(2, Resources { gpu: 2, memory: 8 });
        assert!(slots.take(gpu(1)));
        assert!(!slots.take(gpu(2)));
        assert!(!slots.take(Resources { gpu: 1, memory: 9 }));
        assert!(slots.take(Resources { gpu: 1, memory: 8 }));
        assert!(!slots.take(gpu(0)), "no job is left");
        slots.give_back(gpu(1));
        assert!(slots.take(gpu(1)) && !slots.has_job());
    }
}
