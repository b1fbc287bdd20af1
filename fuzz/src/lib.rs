//! The modules of the program that read foreign bytes, and what these stand on, without the computations: the same files,
//! built in minutes. What computes on tensors is left out, so that burn is not built for it.

#![allow(dead_code, unused_imports, clippy::all)]

// The files of `stages` name it by its name.
extern crate self as stages;

pub use computing::*;
pub use program::*;

/// Of the crate `stages`: the contract of a kind, and the kinds that compute nothing themselves.
#[path = "../../stages/src"]
mod computing {
    pub mod audit;
    pub mod curve;
    pub mod draw;
    pub mod io;
    pub mod orphans;
    pub mod sandbox;
    pub mod secret;
    pub mod stage;
    pub mod work;

    pub mod kinds {
        pub mod best_of;
        pub mod exec;

        pub const KINDS: &[&crate::stage::Kind] = &[&best_of::KIND, &exec::KIND];
    }

    pub mod people {
        pub mod criteria;
        pub mod form;
        pub mod label;
    }

    pub mod model {
        mod demand;
        mod lora {
            pub mod parameters;
        }

        pub use demand::{Demand, Load};
        pub use lora::parameters::LoraParameters;
    }
}

/// Of the crate `pipeline`.
#[path = "../../src"]
mod program {
    pub mod action;
    pub mod approvals;
    pub mod canonical;
    pub mod cause;
    pub mod diagnostic;
    pub mod event;
    pub mod executor;
    pub mod failure;
    pub mod gate;
    pub mod hub;
    pub mod journal;
    pub mod ledger;
    pub mod labels {
        pub mod chain;
    }
    pub mod spec;
    pub mod tail;

    pub mod plan {
        mod name;

        pub use name::ArtifactName;
    }
}

#[path = "../targets/table.rs"]
pub mod targets;
