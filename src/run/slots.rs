//! The resources of this machine: jobs, GPUs and memory. Memory is what stages declare; it is not measured.

use super::gpus::Gpu;
use crate::plan::{Plan, Resources};

pub struct Slots {
    jobs: usize,
    cpu: u64,
    memory: u64,
    /// Those that no running stage has, in the order in which they are handed out.
    gpus: Vec<Gpu>,
}

/// The resources that a stage is to have while it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Demand {
    pub gpus: u64,
    /// One of the GPUs must be one on which stages compute through wgpu.
    pub computes: bool,
    /// Cores.
    pub cpu: u64,
    pub memory: u64,
}

/// The resources of a running stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Share {
    /// The one it computes on comes first.
    pub gpus: Vec<Gpu>,
    cpu: u64,
    memory: u64,
}

impl Slots {
    /// Without GPUs: they are counted when a stage needs one.
    pub fn new(jobs: usize, capacity: Resources) -> Slots {
        let cpu = capacity.cpu.unwrap_or(u64::MAX);
        Slots { jobs: jobs.max(1), cpu, memory: capacity.memory, gpus: Vec::new() }
    }

    /// No resources, for a look, which begins nothing.
    pub fn none() -> Slots {
        Slots { jobs: 0, cpu: 0, memory: 0, gpus: Vec::new() }
    }

    /// Adds GPUs that were counted.
    pub fn add(&mut self, gpus: &[Gpu]) {
        self.gpus.extend_from_slice(gpus);
    }

    pub fn has_job(&self) -> bool {
        self.jobs > 0
    }

    /// Takes resources; `None`, and nothing is taken, if they are not free.
    pub fn take(&mut self, wanted: Demand) -> Option<Share> {
        if !self.has_job() || wanted.memory > self.memory || wanted.cpu > self.cpu {
            return None;
        }
        let gpus = choose(&self.gpus, wanted)?;
        self.gpus.retain(|gpu| !gpus.contains(gpu));
        self.jobs -= 1;
        self.memory -= wanted.memory;
        self.cpu -= wanted.cpu;
        Some(Share { gpus, cpu: wanted.cpu, memory: wanted.memory })
    }

    pub fn give_back(&mut self, taken: Share) {
        self.jobs += 1;
        self.memory += taken.memory;
        self.cpu += taken.cpu;
        self.gpus.extend(taken.gpus);
        // One stage after the other gets the same GPU.
        self.gpus.sort_by_key(|gpu| gpu.place);
    }
}

/// The GPUs of a demand among those that are there; `None` if they do not suffice. Who computes through wgpu gets those that
/// can first, all others get the rest first.
pub fn choose(there: &[Gpu], wanted: Demand) -> Option<Vec<Gpu>> {
    let own = wanted.computes.then(|| there.iter().find(|gpu| gpu.computes));
    let own = match own {
        Some(None) => return None,
        Some(own) => own,
        None => None,
    };
    let is_first = |gpu: &&Gpu| gpu.computes == wanted.computes;
    let rest = there.iter().filter(is_first).chain(there.iter().filter(|gpu| !is_first(gpu)));
    let rest = rest.filter(|gpu| Some(*gpu) != own);
    let gpus: Vec<Gpu> = own.into_iter().chain(rest).take(usize::try_from(wanted.gpus).ok()?).cloned().collect();
    (gpus.len() as u64 == wanted.gpus).then_some(gpus)
}

/// A sentence about the first stage that asks for more than the capacity: it would wait for ever. GPUs that were not
/// counted yet are not held against it.
pub fn too_large(plan: &Plan, capacity: Resources) -> Option<String> {
    let gib = |bytes: u64| format!("{:.1} GiB", bytes as f64 / (1_u64 << 30) as f64);
    plan.stages.iter().find_map(|stage| {
        if stage.executor.is_some() {
            return None;
        }
        let Resources { gpu, cpu, memory, .. } = stage.resources;
        if let (Some(asked), Some(there)) = (cpu, capacity.cpu)
            && asked > there
        {
            let name = &stage.name;
            return Some(format!(
                "`{name}` asks for cpu: {asked}, and there are {there} cores; `--resources cpu={asked}` says that there are more"
            ));
        }
        if let (Some(asked), Some(there)) = (gpu, capacity.gpu)
            && asked > there
        {
            return Some(too_many(&stage.name, asked, there));
        }
        let (asked, there) = (gib(memory), gib(capacity.memory));
        (memory > capacity.memory).then(|| {
            format!("`{}` asks for {asked} of memory, and there are {there}; `--resources memory=SIZE` says that there is more", stage.name)
        })
    })
}

/// A sentence about a stage that asks for more GPUs than there are.
pub fn too_many(stage: &str, asked: u64, there: u64) -> String {
    let are = if there == 1 { "is" } else { "are" };
    format!(
        "`{stage}` asks for gpu: {asked}, and there {are} {there}; `--resources gpu={asked}` says that there are more"
    )
}

/// Whether a stage asks for several GPUs, so that they must be counted before anything begins.
pub fn asks_for_several(plan: &Plan) -> bool {
    plan.stages.iter().any(|stage| stage.executor.is_none() && stage.resources.gpu > Some(1))
}

/// The GPUs that are found, the cores that this process may use, and the memory of this machine; unbounded if the system
/// does not report them.
pub fn of_this_machine() -> Resources {
    let cpu = std::thread::available_parallelism().ok().map(|cores| cores.get() as u64);
    Resources { gpu: None, cpu, memory: memory("MemTotal").unwrap_or(u64::MAX), time: None }
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

    fn numbers(share: Option<&Share>) -> Vec<usize> {
        share.map(|share| share.gpus.iter().map(|gpu| gpu.number).collect()).unwrap_or_default()
    }

    #[test]
    fn cores_are_counted_where_a_stage_asks_for_some() {
        let mut slots = Slots::new(4, Resources { cpu: Some(4), ..Resources::default() });
        let three = Demand { cpu: 3, ..Demand::default() };
        let first = slots.take(three).unwrap();
        assert_eq!(slots.take(three), None);
        assert!(slots.take(Demand::default()).is_some(), "others go on beside it");
        slots.give_back(first);
        assert!(slots.take(three).is_some());
    }

    #[test]
    fn what_does_not_fit_takes_nothing() {
        let gpu = |gpus| Demand { gpus, ..Demand::default() };
        let mut slots = Slots::new(2, Resources { memory: 8, ..Resources::default() });
        slots.add(&Gpu::numbered(&[0, 1], false));
        let first = slots.take(gpu(1)).unwrap();
        assert_eq!(slots.take(gpu(2)), None);
        assert_eq!(slots.take(Demand { memory: 9, ..gpu(1) }), None);
        let second = slots.take(Demand { memory: 8, ..gpu(1) });
        assert_eq!((numbers(Some(&first)), numbers(second.as_ref())), (vec![0], vec![1]));
        assert_eq!(slots.take(gpu(0)), None, "no job is left");
        slots.give_back(first);
        let again = slots.take(gpu(1));
        assert_eq!(numbers(again.as_ref()), [0]);
        assert!(!slots.has_job());
    }

    #[test]
    fn who_computes_through_wgpu_gets_a_gpu_that_wgpu_sees_and_others_leave_it_to_them() {
        let mut slots = Slots::new(9, Resources::default());
        slots.add(&[Gpu::numbered(&[3], true), Gpu::numbered(&[0], false)].concat());
        let trains = Demand { gpus: 1, computes: true, ..Demand::default() };
        let command = Demand { computes: false, ..trains };
        let taken = slots.take(command);
        assert_eq!(numbers(taken.as_ref()), [0]);
        let training = slots.take(trains).unwrap();
        assert_eq!((numbers(Some(&training)), slots.take(trains)), (vec![3], None));
        slots.give_back(training);
        slots.give_back(taken.unwrap());
        assert_eq!(numbers(slots.take(Demand { gpus: 2, ..trains }).as_ref()), [3, 0]);
    }
}
