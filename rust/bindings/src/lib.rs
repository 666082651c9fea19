//! The extension module `tmi._core`: argument checks, conversions and nothing else around `tmi_kernels`.
//!
//! What the functions compute, and all shapes and errors, is documented where Python looks for it: `_core.pyi`.
//! Each one releases the interpreter while it works and returns arrays that own their memory.

mod arguments;
mod call;

/// The kernels of tmi, in the order of the folders of `tmi_kernels`.
#[pyo3::pymodule]
mod _core {
    use ndarray::{Array1, Array2};
    use numpy::{Ix1, Ix2, Ix3, Ix4};
    use pyo3::prelude::*;
    use tmi_kernels::{Compared, Conditioned, Covariance, Prior, Reduced, RocCurve, View};

    use crate::arguments::{array, flags, floats, thread_count, with_floats};
    use crate::call::{Arrays, call, refusal};

    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const EMPIRICAL_BAYES_FEATURES: [&str; 3] = tmi_kernels::EMPIRICAL_BAYES_FEATURES;

    #[pyfunction]
    #[pyo3(signature = (logits, *, clip_norm=None, threads=1))]
    fn scale_logits<'py>(
        py: Python<'py>,
        logits: &Bound<'py, PyAny>,
        clip_norm: Option<f64>,
        threads: i64,
    ) -> PyResult<Arrays<'py, Array2<f32>>> {
        let logits = floats::<Ix2>("logits", logits)?;
        let threads = thread_count(threads)?;
        with_floats!(logits, |logits| call(py, || tmi_kernels::scale_logits(logits, clip_norm, threads)))
    }

    #[pyfunction]
    #[pyo3(signature = (predictions, *, threads=1))]
    fn reduce_logits<'py>(
        py: Python<'py>,
        predictions: &Bound<'py, PyAny>,
        threads: i64,
    ) -> PyResult<Arrays<'py, Reduced>> {
        let predictions = floats::<Ix4>("predictions", predictions)?;
        let threads = thread_count(threads)?;
        with_floats!(predictions, |logits| call(py, || tmi_kernels::reduce_logits(logits, threads)))
    }

    #[pyfunction]
    #[pyo3(signature = (logits, kind, parameter=0, *, threads=1))]
    fn apply_view<'py>(
        py: Python<'py>,
        logits: &Bound<'py, PyAny>,
        kind: &str,
        parameter: i64,
        threads: i64,
    ) -> PyResult<Arrays<'py, Array2<f32>>> {
        let logits = floats::<Ix2>("logits", logits)?;
        let view = View::new(kind, parameter).map_err(refusal)?;
        let threads = thread_count(threads)?;
        with_floats!(logits, |logits| call(py, || tmi_kernels::apply_view(logits, view, threads)))
    }

    #[pyfunction]
    #[pyo3(signature = (ridges=vec![0.5, 2.0]))]
    fn leave_one_out_feature_names(ridges: Vec<f64>) -> Vec<String> {
        tmi_kernels::leave_one_out_feature_names(&ridges)
    }

    #[pyfunction]
    #[pyo3(signature = (
        x, membership, target, *, apart=None, wanted=None, ridges=vec![0.5, 2.0], prior=None, share=0.6, threads=1
    ))]
    #[allow(clippy::too_many_arguments)]
    fn leave_one_out_features<'py>(
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        membership: &Bound<'py, PyAny>,
        target: i64,
        apart: Option<&Bound<'py, PyAny>>,
        wanted: Option<&Bound<'py, PyAny>>,
        ridges: Vec<f64>,
        prior: Option<(Bound<'py, PyAny>, Bound<'py, PyAny>)>,
        share: f64,
        threads: i64,
    ) -> PyResult<Arrays<'py, Array2<f32>>> {
        let x = array::<f32, Ix3>("x", x, "float32")?;
        let membership = flags::<Ix2>("membership", membership)?;
        let apart = apart.map(|apart| flags::<Ix2>("apart", apart)).transpose()?;
        let wanted = wanted.map(|wanted| flags::<Ix2>("wanted", wanted)).transpose()?;
        let prior = match &prior {
            Some((mean, variance)) => Some((
                array::<f64, Ix2>("prior_mean", mean, "float64")?,
                array::<f64, Ix1>("prior_variance", variance, "float64")?,
            )),
            None => None,
        };
        let threads = thread_count(threads)?;
        let (x, membership) = (x.as_array(), membership.as_array());
        let apart = apart.as_ref().map(|apart| apart.as_array());
        let wanted = wanted.as_ref().map(|wanted| wanted.as_array());
        let prior = prior.as_ref().map(|(mean, variance)| Prior {
            mean: mean.as_array(),
            variance: variance.as_array(),
            share,
        });
        let compared = Compared { target, apart, wanted };
        call(py, || {
            tmi_kernels::leave_one_out_features(x, membership, &compared, &ridges, prior.as_ref(), threads)
        })
    }

    #[pyfunction]
    #[pyo3(signature = (x, membership, targets, *, ridge=0.5, threads=1))]
    fn gaussian_scores<'py>(
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        membership: &Bound<'py, PyAny>,
        targets: &Bound<'py, PyAny>,
        ridge: f64,
        threads: i64,
    ) -> PyResult<Arrays<'py, Array2<f64>>> {
        let x = array::<f32, Ix3>("x", x, "float32")?;
        let membership = flags::<Ix2>("membership", membership)?;
        let targets = array::<i64, Ix1>("targets", targets, "int64")?;
        let threads = thread_count(threads)?;
        let (x, membership, targets) = (x.as_array(), membership.as_array(), targets.as_array());
        call(py, || tmi_kernels::gaussian_scores(x, membership, targets, ridge, threads))
    }

    #[pyfunction]
    #[pyo3(signature = (predictions, membership, targets, *, covariance="full", threads=1))]
    fn adapted_lira<'py>(
        py: Python<'py>,
        predictions: &Bound<'py, PyAny>,
        membership: &Bound<'py, PyAny>,
        targets: &Bound<'py, PyAny>,
        covariance: &str,
        threads: i64,
    ) -> PyResult<Arrays<'py, Array2<f64>>> {
        let predictions = floats::<Ix4>("predictions", predictions)?;
        let membership = flags::<Ix2>("membership", membership)?;
        let targets = array::<i64, Ix1>("targets", targets, "int64")?;
        let covariance: Covariance = covariance.parse().map_err(refusal)?;
        let threads = thread_count(threads)?;
        let (membership, targets) = (membership.as_array(), targets.as_array());
        with_floats!(predictions, |logits| call(py, || {
            tmi_kernels::adapted_lira(logits, membership, targets, covariance, threads)
        }))
    }

    #[pyfunction]
    fn roc_curve<'py>(
        py: Python<'py>,
        scores: &Bound<'py, PyAny>,
        labels: &Bound<'py, PyAny>,
    ) -> PyResult<Arrays<'py, RocCurve>> {
        let scores = array::<f64, Ix1>("scores", scores, "float64")?;
        let labels = flags::<Ix1>("labels", labels)?;
        let (scores, labels) = (scores.as_array(), labels.as_array());
        call(py, || tmi_kernels::roc_curve(scores, labels))
    }

    #[pyfunction]
    #[pyo3(signature = (scores, labels, false_positive_rates, *, threads=1))]
    fn roc_metrics<'py>(
        py: Python<'py>,
        scores: &Bound<'py, PyAny>,
        labels: &Bound<'py, PyAny>,
        false_positive_rates: &Bound<'py, PyAny>,
        threads: i64,
    ) -> PyResult<Arrays<'py, Array1<f64>>> {
        let scores = array::<f64, Ix2>("scores", scores, "float64")?;
        let labels = flags::<Ix2>("labels", labels)?;
        let rates = array::<f64, Ix1>("false_positive_rates", false_positive_rates, "float64")?;
        let threads = thread_count(threads)?;
        let (scores, labels, rates) = (scores.as_array(), labels.as_array(), rates.as_array());
        call(py, || tmi_kernels::roc_metrics(scores, labels, rates, threads))
    }

    #[pyfunction]
    #[pyo3(signature = (scores, labels, target_weights, point_weights, false_positive_rates, *, threads=1))]
    #[allow(clippy::too_many_arguments)]
    fn roc_resample<'py>(
        py: Python<'py>,
        scores: &Bound<'py, PyAny>,
        labels: &Bound<'py, PyAny>,
        target_weights: &Bound<'py, PyAny>,
        point_weights: &Bound<'py, PyAny>,
        false_positive_rates: &Bound<'py, PyAny>,
        threads: i64,
    ) -> PyResult<Arrays<'py, Array2<f64>>> {
        let scores = array::<f64, Ix2>("scores", scores, "float64")?;
        let labels = flags::<Ix2>("labels", labels)?;
        let of_targets = array::<u16, Ix2>("target_weights", target_weights, "uint16")?;
        let of_points = array::<u16, Ix2>("point_weights", point_weights, "uint16")?;
        let rates = array::<f64, Ix1>("false_positive_rates", false_positive_rates, "float64")?;
        let threads = thread_count(threads)?;
        let (scores, labels, rates) = (scores.as_array(), labels.as_array(), rates.as_array());
        let (of_targets, of_points) = (of_targets.as_array(), of_points.as_array());
        call(py, || tmi_kernels::roc_resample(scores, labels, of_targets, of_points, rates, threads))
    }

    #[pyfunction]
    #[pyo3(signature = (x, regressors, weights, *, penalty=1.0, threads=1))]
    fn condition<'py>(
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        regressors: &Bound<'py, PyAny>,
        weights: &Bound<'py, PyAny>,
        penalty: f64,
        threads: i64,
    ) -> PyResult<Arrays<'py, Conditioned>> {
        let x = array::<f32, Ix3>("x", x, "float32")?;
        let regressors = array::<f32, Ix3>("regressors", regressors, "float32")?;
        let weights = array::<f32, Ix2>("weights", weights, "float32")?;
        let threads = thread_count(threads)?;
        let (x, regressors, weights) = (x.as_array(), regressors.as_array(), weights.as_array());
        call(py, || tmi_kernels::condition(x, regressors, weights, penalty, threads))
    }

    #[pyfunction]
    #[pyo3(signature = (x, labels, weights, *, penalty=0.1, threads=1))]
    fn label_probe<'py>(
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        labels: &Bound<'py, PyAny>,
        weights: &Bound<'py, PyAny>,
        penalty: f64,
        threads: i64,
    ) -> PyResult<Arrays<'py, Array2<f64>>> {
        let x = array::<f32, Ix3>("x", x, "float32")?;
        let labels = array::<i64, Ix1>("labels", labels, "int64")?;
        let weights = array::<f32, Ix2>("weights", weights, "float32")?;
        let threads = thread_count(threads)?;
        let (x, labels, weights) = (x.as_array(), labels.as_array(), weights.as_array());
        call(py, || tmi_kernels::label_probe(x, labels, weights, penalty, threads))
    }
}
