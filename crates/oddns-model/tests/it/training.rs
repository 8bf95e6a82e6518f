//! Training learns, repeats, and refuses what it cannot learn from.

use std::ops::ControlFlow;

use oddns_model::{Config, ModelError, Network, Sequence, TrainOptions, TrainRecord, train};

use crate::{small, waves};

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
fn settings_out_of_range_are_named() {
    let cases = [
        (TrainOptions { steps: 0, ..options() }, "`steps` is 0, it must be 1 to 1000000"),
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
