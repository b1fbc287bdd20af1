//! Judges of answers: files, reward models, language models, endpoints. What they are asked, what counts of their replies, and
//! what one judgement becomes of several.

pub mod asking;
pub mod bias;
pub mod calibrated;
pub mod completion;
pub mod endpoint;
pub mod hearing;
pub mod injection;
pub mod measures;
pub mod models;
pub mod prompt;
pub mod quality;
pub mod reading;
pub mod said;
