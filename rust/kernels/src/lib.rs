//! Numerical kernels of transfer-learning membership inference, as plain functions on array views.
//!
//! Axes are models, points, augmentations and classes, in this order; scores are targets x points. Inputs may have any
//! strides and be far larger than memory: no kernel copies one. Each takes a number of threads, which changes no bit of
//! its result, and refuses what it cannot compute, or has no memory for, with a [`KernelError`]; none panics, aborts or
//! returns NaN.

mod conditioning;
mod error;
mod label_probe;
mod lanes;
mod leave_one_out;
mod lira;
mod logits;
mod memory;
mod parallel;
mod roc;
mod span;
pub use conditioning::{Conditioned, condition};
pub use error::KernelError;
pub use label_probe::label_probe;
pub use leave_one_out::{
    Compared, EMPIRICAL_BAYES_FEATURES, Prior, gaussian_scores, leave_one_out_feature_names,
    leave_one_out_features,
};
pub use lira::{Covariance, adapted_lira};
pub use logits::{Logit, Reduced, View, apply_view, reduce_logits, scale_logits};
pub use roc::{RocCurve, roc_curve, roc_metrics, roc_resample};
