//! IN and OUT moments of one point over the models, and what leaving out one model changes about them.
//!
//! Removing a value `x` from `n` values with mean `mu` and sum of squares `Q` about it leaves, with `u = x - mu`,
//! the mean `mu - u / (n - 1)` and the sum of squares `Q - u^2 n / (n - 1)`; of several dimensions, the scatter
//! matrix loses `u u^T n / (n - 1)`. So the statistics without any one model follow from those of all models in
//! a few operations. All of it in float64.

use multiversion::multiversion;
use ndarray::{ArrayView2, ArrayView3, Axis};

use crate::error::{KernelError, require_model, require_nonempty, require_shape};
use crate::lanes::{LANES, Lane, dot};
use crate::memory;

/// What a model is to the statistics of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A shadow trained on the point.
    In,
    /// A shadow not trained on it.
    Out,
    /// Part of no statistic: the target, what else is kept apart, and the lanes that no model fills.
    Apart,
}

/// Which models are part of no statistic.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Apart<'a> {
    pub(crate) target: Option<usize>,
    /// The model that is scored, where it is left out from the start.
    pub(crate) model: Option<usize>,
    /// `[models, points]`: further ones, which differ from point to point.
    pub(crate) others: Option<ArrayView2<'a, bool>>,
}

impl Apart<'_> {
    fn holds(&self, model: usize, point: usize) -> bool {
        [self.target, self.model].contains(&Some(model))
            || self.others.is_some_and(|others| others[[model, point]])
    }
}

/// What it does to the statistics of a point to leave out one model of some role.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effect<Number, Flag> {
    /// Whether an IN and an OUT shadow are left; if not, nothing can be compared.
    pub(crate) comparable: Flag,
    /// The side whose mean its deviation is from: 1 for IN, -1 for OUT.
    pub(crate) side: Number,
    /// The mean of that side moves by so many times the model's deviation from it, downwards.
    pub(crate) shift_in: Number,
    pub(crate) shift_out: Number,
    /// The sum of squares of that side loses so many times the model's squared deviation.
    pub(crate) drop_in: Number,
    pub(crate) drop_out: Number,
    /// Shadows left on either side.
    pub(crate) count_in: Number,
    pub(crate) count_out: Number,
    /// Degrees of freedom left, at least 1: of the pooled variance, and of each side's own.
    pub(crate) freedom: Number,
    pub(crate) freedom_in: Number,
    pub(crate) freedom_out: Number,
}

/// The effects of leaving out each of `LANES` models, one at a time.
pub(crate) type Effects = Effect<Lane, [bool; LANES]>;

impl Effect<f64, bool> {
    fn new(role: Role, count_in: usize, count_out: usize) -> Self {
        let (left_in, shift_in, drop_in) = removal(count_in, role == Role::In);
        let (left_out, shift_out, drop_out) = removal(count_out, role == Role::Out);
        let freedom = |count: usize, parameters| count.saturating_sub(parameters).max(1) as f64;
        Self {
            comparable: left_in > 0 && left_out > 0,
            side: if role == Role::Out { -1.0 } else { 1.0 },
            shift_in,
            shift_out,
            drop_in,
            drop_out,
            count_in: left_in as f64,
            count_out: left_out as f64,
            freedom: freedom(left_in + left_out, 2),
            freedom_in: freedom(left_in, 1),
            freedom_out: freedom(left_out, 1),
        }
    }
}

impl Effects {
    fn of_roles(of_role: &[Effect<f64, bool>; 3], roles: [Role; LANES]) -> Self {
        let gather = |field: fn(&Effect<f64, bool>) -> f64| roles.map(|role| field(&of_role[role as usize]));
        Effect {
            comparable: roles.map(|role| of_role[role as usize].comparable),
            side: gather(|effect| effect.side),
            shift_in: gather(|effect| effect.shift_in),
            shift_out: gather(|effect| effect.shift_out),
            drop_in: gather(|effect| effect.drop_in),
            drop_out: gather(|effect| effect.drop_out),
            count_in: gather(|effect| effect.count_in),
            count_out: gather(|effect| effect.count_out),
            freedom: gather(|effect| effect.freedom),
            freedom_in: gather(|effect| effect.freedom_in),
            freedom_out: gather(|effect| effect.freedom_out),
        }
    }
}

/// Members of a side left after the removal of one (or none), and the factors of the deviation and its square.
fn removal(count: usize, removed: bool) -> (usize, f64, f64) {
    match (count, removed) {
        (_, false) => (count, 0.0, 0.0),
        (0 | 1, true) => (0, 0.0, 0.0),
        (_, true) => {
            let left = (count - 1) as f64;
            (count - 1, 1.0 / left, count as f64 / left)
        }
    }
}

/// The values of all models at one point, and their moments on both sides.
///
/// One class of all models fills `chunks` lanes, so the lane of model `n` in class `k` is
/// `[k * chunks + n / LANES][n % LANES]`.
pub(crate) struct Moments {
    pub(crate) models: usize,
    pub(crate) classes: usize,
    pub(crate) chunks: usize,
    roles: Vec<[Role; LANES]>,
    /// What leaving out a model of each role does, in the order of `Role`.
    effects: [Effect<f64, bool>; 3],
    /// 1 for the shadows on that side, else 0.
    pub(crate) is_in: Vec<Lane>,
    pub(crate) is_out: Vec<Lane>,
    /// The values, class by class.
    pub(crate) values: Vec<Lane>,
    /// The values minus the mean of the model's side (IN for models apart), class by class.
    pub(crate) deviations: Vec<Lane>,
    /// Squared Euclidean norms of the deviations over the classes.
    pub(crate) norms: Vec<Lane>,
    /// Each class on both sides.
    pub(crate) sides: Vec<Sides>,
}

/// Mean (0 without shadows) and sum of squares about it of one class on both sides.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sides {
    pub(crate) mean_in: f64,
    pub(crate) mean_out: f64,
    pub(crate) squares_in: f64,
    pub(crate) squares_out: f64,
}

/// `LANES` models at one point that are looked at side by side, each with itself left out.
pub(crate) struct Picked {
    /// How many of the lanes are asked for; which models are in all of them.
    pub(crate) count: usize,
    pub(crate) models: [usize; LANES],
    /// As in `Moments`, class by class.
    pub(crate) values: Vec<Lane>,
    pub(crate) deviations: Vec<Lane>,
    pub(crate) effects: Effects,
    /// Trace of the scatter matrix left without each model.
    pub(crate) traces_left: Lane,
}

impl Picked {
    pub(crate) fn of_classes(classes: usize) -> Result<Self, KernelError> {
        let none = Effect::new(Role::Apart, 0, 0);
        Ok(Self {
            count: 0,
            models: [0; LANES],
            values: memory::filled([0.0; LANES], classes)?,
            deviations: memory::filled([0.0; LANES], classes)?,
            effects: Effects::of_roles(&[none; 3], [Role::Apart; LANES]),
            traces_left: [0.0; LANES],
        })
    }
}

impl Moments {
    /// Room for the moments of a point of `x`, `[models, points, classes]`.
    pub(crate) fn of_shape(x: ArrayView3<f32>) -> Result<Self, KernelError> {
        let (models, _, classes) = x.dim();
        let chunks = models.div_ceil(LANES);
        Ok(Self {
            models,
            classes,
            chunks,
            roles: memory::filled([Role::Apart; LANES], chunks)?,
            effects: [Effect::new(Role::Apart, 0, 0); 3],
            is_in: memory::filled([0.0; LANES], chunks)?,
            is_out: memory::filled([0.0; LANES], chunks)?,
            values: memory::filled([0.0; LANES], classes * chunks)?,
            deviations: memory::filled([0.0; LANES], classes * chunks)?,
            norms: memory::filled([0.0; LANES], chunks)?,
            sides: memory::filled(Sides::default(), classes)?,
        })
    }

    /// Takes over `point` of `x`. Fails on NaN and infinity.
    pub(crate) fn load(
        &mut self,
        x: ArrayView3<f32>,
        membership: ArrayView2<bool>,
        apart: Apart,
        point: usize,
    ) -> Result<(), KernelError> {
        let (x, membership) = (x.index_axis(Axis(1), point), membership.column(point));
        let mut counts = [0; 3];
        for (model, (x, &is_member)) in x.outer_iter().zip(membership).enumerate() {
            let role = match is_member {
                _ if apart.holds(model, point) => Role::Apart,
                true => Role::In,
                false => Role::Out,
            };
            let (chunk, lane) = (model / LANES, model % LANES);
            counts[role as usize] += 1;
            self.roles[chunk][lane] = role;
            self.is_in[chunk][lane] = f64::from(role == Role::In);
            self.is_out[chunk][lane] = f64::from(role == Role::Out);
            for (values, &value) in self.values[chunk..].iter_mut().step_by(self.chunks).zip(x) {
                if !value.is_finite() {
                    let position = format!("model {model}, point {point}");
                    return Err(KernelError::not_finite("x", value, position));
                }
                values[lane] = f64::from(value);
            }
        }
        let [count_in, count_out, _] = counts;
        self.effects = [Role::In, Role::Out, Role::Apart].map(|role| Effect::new(role, count_in, count_out));
        self.centre(count_in.max(1) as f64, count_out.max(1) as f64);
        Ok(())
    }

    /// Means, deviations from them and their squares.
    fn centre(&mut self, count_in: f64, count_out: f64) {
        self.norms.fill([0.0; LANES]);
        let values = self.values.chunks_exact(self.chunks);
        let deviations = self.deviations.chunks_exact_mut(self.chunks);
        for ((values, deviations), sides) in values.zip(deviations).zip(&mut self.sides) {
            sides.mean_in = dot(values, &self.is_in) / count_in;
            sides.mean_out = dot(values, &self.is_out) / count_out;
            deviate(values, &self.is_out, sides, deviations);
            add_squares(deviations, &self.is_in, &self.is_out, &mut self.norms, sides);
        }
    }

    /// Takes up to `LANES` models, at least one, into `picked`.
    pub(crate) fn pick(&self, models: &[usize], picked: &mut Picked) {
        picked.count = models.len();
        // Lanes to spare repeat the last model.
        picked.models = std::array::from_fn(|l| models[l.min(models.len() - 1)]);
        let places = picked.models.map(|model| (model / LANES, model % LANES));
        picked.effects =
            Effects::of_roles(&self.effects, places.map(|(chunk, lane)| self.roles[chunk][lane]));
        let gather = |values: &[Lane]| places.map(|(chunk, lane)| values[chunk][lane]);
        let each = self.values.chunks_exact(self.chunks).zip(self.deviations.chunks_exact(self.chunks));
        for ((values, deviations), (x, u)) in each.zip(picked.values.iter_mut().zip(&mut picked.deviations)) {
            *x = gather(values);
            *u = gather(deviations);
        }
        let (trace, norms, effects) = (self.trace(), gather(&self.norms), &picked.effects);
        picked.traces_left =
            std::array::from_fn(|l| (trace - (effects.drop_in[l] + effects.drop_out[l]) * norms[l]).max(0.0));
    }

    /// The values, class by class, of one model.
    pub(crate) fn values_of(&self, model: usize) -> Result<Vec<f64>, KernelError> {
        let (chunk, lane) = (model / LANES, model % LANES);
        let mut values = memory::room_for(self.classes)?;
        values.extend(self.values.iter().skip(chunk).step_by(self.chunks).map(|values| values[lane]));
        Ok(values)
    }

    /// The values of all shadow models on one side but one model.
    pub(crate) fn values_of_side(&self, role: Role, without: usize) -> Result<Vec<Vec<f64>>, KernelError> {
        let role_of = |model: usize| self.roles[model / LANES][model % LANES];
        let others = (0..self.models).filter(|&model| role_of(model) == role && model != without);
        others.map(|model| self.values_of(model)).collect()
    }

    /// 1 if the model in a slot, lane `slot % LANES` of chunk `slot / LANES`, is a shadow, else 0.
    pub(crate) fn is_shadow(&self, slot: usize) -> f64 {
        let (chunk, lane) = (slot / LANES, slot % LANES);
        self.is_in[chunk][lane] + self.is_out[chunk][lane]
    }

    /// Trace of the scatter matrix of all shadows about the mean of their side.
    pub(crate) fn trace(&self) -> f64 {
        self.sides.iter().map(|sides| sides.squares_in + sides.squares_out).sum()
    }
}

/// Values of one class minus the mean of each model's side.
#[multiversion(targets("x86_64+avx2"))]
fn deviate(values: &[Lane], is_out: &[Lane], sides: &Sides, deviations: &mut [Lane]) {
    for ((x, is_out), u) in values.iter().zip(is_out).zip(deviations) {
        for l in 0..LANES {
            u[l] = x[l] - if is_out[l] == 0.0 { sides.mean_in } else { sides.mean_out };
        }
    }
}

/// Adds one class's squared deviations to the models' `norms`, and to the sums of either side.
#[multiversion(targets("x86_64+avx2"))]
fn add_squares(deviations: &[Lane], is_in: &[Lane], is_out: &[Lane], norms: &mut [Lane], sides: &mut Sides) {
    let (mut squares_in, mut squares_out) = ([0.0; LANES], [0.0; LANES]);
    for (((u, is_in), is_out), norms) in deviations.iter().zip(is_in).zip(is_out).zip(norms) {
        for l in 0..LANES {
            let square = u[l] * u[l];
            norms[l] += square;
            squares_in[l] += is_in[l] * square;
            squares_out[l] += is_out[l] * square;
        }
    }
    sides.squares_in = squares_in.iter().sum();
    sides.squares_out = squares_out.iter().sum();
}

/// Checks the arguments that all statistics over the models share: `x` `[models, points, classes]` and
/// `membership` `[models, points]`.
pub(crate) fn check(x: ArrayView3<f32>, membership: ArrayView2<bool>) -> Result<(), KernelError> {
    require_nonempty("x", x.shape())?;
    require_shape("membership", membership.shape(), &x.shape()[..2], "models and points of x")
}

/// The target, which must be one of the models, and the others apart, which must be of the shape of `membership`.
pub(crate) fn check_apart<'a>(
    membership: ArrayView2<bool>,
    target: i64,
    others: Option<ArrayView2<'a, bool>>,
) -> Result<Apart<'a>, KernelError> {
    let target = Some(require_model("target", target, membership.nrows())?);
    if let Some(others) = others {
        require_shape("apart", others.shape(), membership.shape(), "models and points of x")?;
    }
    Ok(Apart { target, model: None, others })
}

/// Fails unless `ridge` is a multiple of the mean variance that keeps every matrix well-conditioned.
pub(crate) fn check_ridge(argument: &'static str, ridge: f64) -> Result<(), KernelError> {
    if (1e-6..=1e6).contains(&ridge) {
        return Ok(());
    }
    let expected = "between 1e-6 and 1e6".to_owned();
    Err(KernelError::Argument { argument, found: ridge.to_string(), expected })
}
