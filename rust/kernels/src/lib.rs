//! Numerical kernels of transfer-learning membership inference, as plain functions on array views.
//!
//! Axes are models, points, augmentations and classes, in this order; scores are targets x points. Inputs may have any
//! strides and be far larger than memory: no kernel copies one. Each takes a number of threads, which changes no bit of
//! its result, and refuses what it cannot compute with a [`KernelError`]; none panics or returns NaN.

mod answers;
mod comparison;
mod conditioning;
mod discriminant;
mod element;
mod error;
mod lanes;
mod lira;
mod logits;
mod math;
mod moments;
mod parallel;
mod reduction;
mod resample;
mod roc;
mod shrinkage;
mod statistics;
mod sweep;
mod tridiagonal;
mod views;
pub use conditioning::{Conditioned, condition};
pub use element::Element;
pub use error::KernelError;
pub use lira::{Covariance, adapted_lira};
pub use logits::scale_logits;
pub use reduction::{Reduced, reduce_logits};
pub use resample::roc_resample;
pub use roc::{RocCurve, roc_curve, roc_metrics};
pub use shrinkage::{EMPIRICAL_BAYES_FEATURES, Prior, empirical_bayes_features};
pub use statistics::{gaussian_scores, leave_one_out_feature_names, leave_one_out_features};
pub use views::{View, apply_view};
