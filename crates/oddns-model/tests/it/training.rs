//! Training learns, repeats, and refuses what it cannot learn from.

use std::ops::ControlFlow;

use oddns_model::{
    Config, ModelError, Network, Sequence, TrainOptions, TrainRecord, retrain, train,
};

use crate::{part, small, waves};

fn run(
    sequences: &[Sequence],
    options: &TrainOptions,
) -> Result<(Network, TrainRecord), ModelError> {
    train(small(3), sequences, options, &mut |_| ControlFlow::Continue(()))
}

fn options() -> TrainOptions {
    TrainOptions { steps: 60, batch: 10, length: 80, ..TrainOptions::default() }
}

#[test]
fn loss_falls_and_predictions_come_near() {
    let sequences = [waves(3, 700, 0.0), waves(3, 90, 50.0)];
    let mut losses = vec![];
    let options = TrainOptions { steps: 300, ..options() };
    let (network, record) = train(small(3), &sequences, &options, &mut |progress| {
        losses.push(progress.loss);
        assert_eq!((progress.step, progress.steps), (losses.len(), 300));
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(losses.len(), 300);
    assert!(record.final_loss < 0.2 * losses[0], "{record:?} from {}", losses[0]);
    let validation = record.validation_loss.unwrap();
    assert!(validation < 0.3 * losses[0], "{record:?}");
    assert_eq!(record.n_parameters, network.n_parameters());

    let fresh = waves(3, 300, 900.0);
    let predicted = network.forecast(&fresh).unwrap();
    let mut error = 0.0;
    for row in 40..300 {
        for j in 0..3 {
            error += (predicted[row * 3 + j] - fresh.row(row)[j]).powi(2) / (260.0 * 3.0);
        }
    }
    assert!(error < 0.15, "mean squared forecast error {error}");
}

fn huber(error: f32) -> f64 {
    let size = f64::from(error.abs());
    if size < 1.0 { 0.5 * size * size } else { size - 0.5 }
}

/// What a linear rule cannot say: each value is a bent function of the ones before.
fn bent(rows: usize) -> Sequence {
    let mut values = vec![0.3_f32, -0.2, 0.1];
    let mut noise = 1_u32;
    for at in 1..rows {
        let [a, b, c] = [0, 1, 2].map(|j| values[(at - 1) * 3 + j]);
        for value in [(3.0 * a * b).cos(), 0.9 * b.abs() - 0.6 + 0.3 * c, (2.0 * a).sin()] {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            values.push(value + (noise >> 8) as f32 / 16_777_216.0 - 0.5);
        }
    }
    let n = values.len();
    Sequence::new(3, values, vec![true; n]).unwrap()
}

#[test]
fn the_correction_begins_at_nothing_and_makes_the_ridge_better() {
    let sequences = [bent(1500)];
    let still = TrainOptions { steps: 1, learning_rate: 1e-9, ..options() };
    let (ridge, record) = run(&sequences, &still).unwrap();
    let linear = ridge.linear_forecast(&sequences[0]).unwrap();
    for found in [ridge.forecast(&sequences[0]), ridge.complete(&sequences[0], 3)] {
        let far = |(a, b): (&f32, &f32)| (a - b).abs() > 1e-6;
        assert!(!found.unwrap().iter().zip(&linear).any(far));
    }
    let errors = (1350..1500).flat_map(|row| {
        let pairs = sequences[0].row(row).iter().zip(&linear[row * 3..]);
        pairs.map(|(value, predicted)| huber(predicted - value)).collect::<Vec<_>>()
    });
    let of_ridge = (errors.sum::<f64>() / 450.0) as f32;
    assert!((record.validation_loss.unwrap() - of_ridge).abs() < 1e-5, "{record:?}, {of_ridge}");

    let (network, record) = run(&sequences, &TrainOptions { steps: 300, ..options() }).unwrap();
    assert_eq!(network.linear_forecast(&sequences[0]).unwrap(), linear, "steps leave it alone");
    let trained = record.validation_loss.unwrap();
    assert!(trained < 0.85 * of_ridge, "{trained} with the correction, {of_ridge} without");
}

#[test]
fn training_again_solves_the_linear_part_again() {
    let (first, second) = ([bent(800)], [waves(3, 800, 0.0)]);
    let (parent, _) = run(&first, &options()).unwrap();
    let (child, record) =
        retrain(parent.clone(), &second, &options(), &mut |_| ControlFlow::Continue(())).unwrap();
    let (fresh, _) = run(&second, &options()).unwrap();
    let linear = |network: &Network| network.linear_forecast(&second[0]).unwrap();
    assert_eq!(linear(&child), linear(&fresh));
    assert_ne!(linear(&child), linear(&parent));
    assert_ne!(child, fresh, "the correction goes on from that of the parent");
    assert_eq!(record.n_parameters, child.n_parameters());
}

/// The linear part is solved on the rows to learn from alone.
#[test]
fn held_out_rows_do_not_move_the_linear_part() {
    let whole = bent(1000);
    let changed = part(&whole, 0, 900);
    let values = (0..900).flat_map(|row| changed.row(row).to_vec());
    let values = values.chain((0..300).map(|i| i as f32 / 100.0)).collect();
    let changed = Sequence::new(3, values, vec![true; 3000]).unwrap();
    let linear = |sequence: &Sequence| {
        let (network, _) = run(std::slice::from_ref(sequence), &options()).unwrap();
        network.linear_forecast(&whole).unwrap()
    };
    assert_eq!(linear(&whole), linear(&changed));
}

#[test]
fn without_a_linear_part_all_is_learned() {
    let config = Config { linear: false, ..small(3) };
    let sequences = [waves(3, 700, 0.0)];
    let (network, _) =
        train(config, &sequences, &options(), &mut |_| ControlFlow::Continue(())).unwrap();
    assert!(network.linear_forecast(&sequences[0]).unwrap().iter().all(|value| *value == 0.0));
    assert!(network.forecast(&sequences[0]).unwrap().iter().any(|value| value.abs() > 0.1));
}

#[test]
fn same_seed_gives_the_same_bits_on_any_number_of_threads() {
    let sequences = [waves(3, 200, 0.0), waves(3, 50, 9.0)];
    let with = |threads, seed| {
        run(&sequences, &TrainOptions { threads, seed, steps: 20, ..options() }).unwrap()
    };
    let one = with(1, 5);
    assert_eq!(one, with(2, 5));
    assert_eq!(one, with(3, 5));
    assert_eq!(one, with(64, 5));
    assert_ne!(one.0, with(1, 6).0);
}

#[test]
fn short_sequences_name_what_is_needed() {
    let error = run(&[waves(3, 40, 0.0), waves(3, 31, 0.0)], &options()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "sequence 1 has 31 rows, training needs at least 32: record longer"
    );
    let (_, record) = run(&[waves(3, 32, 0.0)], &options()).unwrap();
    assert_eq!(record.validation_loss, None);
}

#[test]
fn what_cannot_be_learned_is_an_error() {
    let none = Sequence::new(3, vec![0.0; 300], vec![false; 300]).unwrap();
    for sequences in [vec![], vec![none]] {
        assert!(matches!(run(&sequences, &options()), Err(ModelError::NothingObserved)));
    }
    let wide = [waves(4, 100, 0.0)];
    assert!(matches!(run(&wide, &options()), Err(ModelError::Width { expected: 3, found: 4 })));
    let huge = Sequence::new(3, vec![3e38; 300], vec![true; 300]).unwrap();
    let error = run(&[huge], &options()).unwrap_err();
    assert!(matches!(error, ModelError::Diverged { step: 1, steps: 60 }), "{error}");
}

#[test]
fn no_steps_give_the_linear_part_and_leave_what_is_there() {
    let (sequences, none) = ([waves(3, 200, 0.0)], TrainOptions { steps: 0, ..options() });
    let (network, record) = run(&sequences, &none).unwrap();
    assert!(record.final_loss.is_nan());
    let linear = network.linear_forecast(&sequences[0]).unwrap();
    assert_eq!(network.forecast(&sequences[0]).unwrap(), linear);
    let (trained, _) = run(&sequences, &options()).unwrap();
    let go_on = &mut |_| ControlFlow::Continue(());
    let (still, _) = retrain(trained.clone(), &[waves(3, 300, 9.0)], &none, go_on).unwrap();
    assert_eq!(still.forecast(&sequences[0]).unwrap(), trained.forecast(&sequences[0]).unwrap());
}

#[test]
fn settings_out_of_range_are_named() {
    let cases = [
        (
            TrainOptions { steps: 1_000_001, ..options() },
            "`steps` is 1000001, it must be 0 to 1000000",
        ),
        (TrainOptions { batch: 0, ..options() }, "`batch` is 0, it must be 1 to 4096"),
        (TrainOptions { length: 31, ..options() }, "`length` is 31, it must be 32 to 65536"),
        (TrainOptions { threads: 0, ..options() }, "`threads` is 0, it must be 1 to 64"),
        (
            TrainOptions { learning_rate: f32::NAN, ..options() },
            "`learning_rate` is NaN, it must be above 0, at most 1",
        ),
    ];
    for (options, message) in cases {
        assert_eq!(run(&[waves(3, 100, 0.0)], &options).unwrap_err().to_string(), message);
    }
}

#[test]
fn cancelled_training_leaves_no_model() {
    let mut steps = 0;
    let error = train(small(3), &[waves(3, 100, 0.0)], &options(), &mut |_| {
        steps += 1;
        if steps < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
    .unwrap_err();
    assert_eq!(error.to_string(), "training was cancelled after step 3 of 60");
    assert_eq!(steps, 3);
}

/// How long the recipe takes; a bound for a loaded machine, not a benchmark.
#[test]
fn recipe_at_sixty_features_takes_seconds() {
    let begin = std::time::Instant::now();
    train(Config::recipe(60), &[waves(60, 2000, 0.0)], &TrainOptions::default(), &mut |_| {
        ControlFlow::Continue(())
    })
    .unwrap();
    println!("200 steps of 20 × 160 at 60 features: {:.1?}", begin.elapsed());
    assert!(begin.elapsed().as_secs() < 60);
}
