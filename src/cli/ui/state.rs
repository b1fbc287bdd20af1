//! The things that every answer of the live page is made of.

use super::feed::RunNews;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

#[derive(Clone)]
pub struct PageState {
    pub feed: Arc<RunNews>,
    /// Set when a person has decided.
    pub decided: Arc<AtomicBool>,
}
