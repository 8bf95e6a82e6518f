//! Bytes that are no model of ours are an error that says so, never a panic.

use std::io::{Cursor, Read as _, Write as _};

use oddns_model::{
    Config, Model, ModelError, Network, Reconstruction, ReconstructionConfig, decode, decode_graph,
    encode,
};
use proptest::prelude::*;
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use crate::small;

fn valid() -> Vec<u8> {
    encode(&Network::new(small(2), 1).unwrap(), "{}").unwrap()
}

/// A general network.
fn valid_graph() -> Vec<u8> {
    let config = ReconstructionConfig::one_dimensional(2, 10);
    let config = ReconstructionConfig { channels: vec![4, 4], latent: 2, ..config };
    Model::Reconstruction(Reconstruction::new(&config, 1).unwrap()).encode("{}").unwrap()
}

/// `valid()` with its entries passed through `edit`; an entry edited to nothing is left out.
fn edited(edit: impl Fn(&str, Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    edited_of(valid(), edit)
}

fn edited_of(bytes: Vec<u8>, edit: impl Fn(&str, Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).unwrap();
    let mut writer = ZipWriter::new(Cursor::new(vec![]));
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at).unwrap();
        let mut content = vec![];
        entry.read_to_end(&mut content).unwrap();
        let name = entry.name().unwrap().into_owned();
        let content = edit(&name, content);
        if !content.is_empty() {
            writer.start_file(name, SimpleFileOptions::default()).unwrap();
            writer.write_all(&content).unwrap();
        }
    }
    writer.finish().unwrap().into_inner()
}

fn with_config(from: &str, to: &str) -> String {
    let bytes = edited(|name, content| {
        if name != "config.json" {
            return content;
        }
        let text = String::from_utf8(content).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        text.replace(from, to).into_bytes()
    });
    decode(&bytes).unwrap_err().to_string()
}

#[test]
fn every_damage_has_its_message() {
    let empty = decode(b"").unwrap_err();
    assert!(matches!(empty, ModelError::NotAnArchive), "{empty}");
    assert!(matches!(decode(b"<html>").unwrap_err(), ModelError::NotAnArchive));
    let bytes = valid();
    let truncated = decode(&bytes[..bytes.len() / 2]).unwrap_err();
    assert!(truncated.to_string().starts_with("damaged or truncated"), "{truncated}");
    for missing in ["config.json", "model.weights.h5"] {
        let bytes = edited(|name, content| if name == missing { vec![] } else { content });
        let error = decode(&bytes).unwrap_err().to_string();
        assert!(error.starts_with(&format!("`.keras` file without `{missing}`")), "{error}");
    }
    let plain = edited(|name, content| if name == "oddns.json" { vec![] } else { content });
    assert_eq!(decode(&plain).unwrap().1, None);
    let broken = edited(|name, content| if name == "config.json" { b"{".into() } else { content });
    assert!(matches!(decode(&broken), Err(ModelError::Text { entry: "config.json", .. })));
    let h5 = |to: &[u8]| {
        let bytes =
            edited(|name, content| if name == "model.weights.h5" { to.into() } else { content });
        decode(&bytes).unwrap_err()
    };
    assert!(matches!(h5(b"no HDF5"), ModelError::Weights { .. }));
}

/// Numbers of an HDF5 file that may be where something lies or how long it is.
fn places_in(hdf5: &[u8]) -> Vec<usize> {
    let number = |at: usize| u64::from_le_bytes(hdf5[at..at + 8].try_into().unwrap());
    let may_be_a_place = |at: &usize| (1..=hdf5.len() as u64).contains(&number(*at));
    (0..hdf5.len() - 8).filter(may_be_a_place).collect()
}

#[test]
fn wild_offsets_in_hdf5_are_errors_or_change_nothing() {
    let mut hdf5 = vec![];
    let bytes = valid();
    ZipArchive::new(Cursor::new(bytes))
        .unwrap()
        .by_name("model.weights.h5")
        .unwrap()
        .read_to_end(&mut hdf5)
        .unwrap();
    let places = places_in(&hdf5);
    assert!(places.len() > 100, "{} places in {} bytes", places.len(), hdf5.len());
    let mut n_errors = 0;
    for (round, at) in places.iter().step_by(places.len().div_ceil(300)).enumerate() {
        // Beyond the file, around the end of the address space, and at itself: a circle.
        let wild = [hdf5.len() as u64 + 1, u64::MAX - 7, 1 << 40, *at as u64][round % 4];
        let damaged = edited(|name, mut content| {
            if name == "model.weights.h5" {
                content[*at..at + 8].copy_from_slice(&wild.to_le_bytes());
            }
            content
        });
        match decode(&damaged) {
            Ok((network, _)) => assert_eq!(network.config(), &small(2)),
            // Some of the places lie in the weights themselves, which are then no longer finite.
            Err(_) => n_errors += 1,
        }
    }
    assert!(n_errors > 20, "{n_errors} errors of {}", places.len());
}

#[test]
fn another_architecture_is_named() {
    let cases = [
        ("\"class_name\":\"Functional\"", "\"class_name\":\"Sequential\"", "`Sequential`"),
        ("\"class_name\":\"Add\"", "\"class_name\":\"LSTM\"", "layer `join` of class `LSTM`"),
        ("\"class_name\":\"Add\"", "\"class_name\":\"Conv1D\"", "expected a `Add`"),
        ("\"padding\":\"causal\"", "\"padding\":\"same\"", "`padding` is \"same\", not \"causal\""),
        ("\"activation\":\"gelu\"", "\"activation\":\"relu\"", "`activation` is \"relu\""),
        ("\"history_conv\"", "\"conv\"", "layer `history_conv`"),
        ("[\"output\",0,0]", "[\"linear\",0,0]", "the output is `linear`, not `output`"),
        ("\"linear\",0,0", "\"prediction\",0,0", "it must read `prediction` and `linear`"),
        ("[\"join_gelu\",0,0]", "[\"join\",0,0]", "it must read `join_gelu`"),
        ("\"batch_shape\":[null,null,2]", "\"batch_shape\":[null,null,5000]", "`n_features`"),
        ("\"dilation_rate\":[8]", "\"dilation_rate\":[99999]", "`dilations` is 99999"),
        ("\"filters\":16", "\"filters\":-1", "no whole number"),
        ("\"filters\":16", "\"filters\":999999", "`channels` is 999999"),
        ("\"filters\":8", "\"filters\":9", "have shape (3, 16, 8), the layer needs (3, 16, 9)"),
    ];
    for (from, to, expected) in cases {
        let message = with_config(from, to);
        assert!(message.contains(expected), "{from} → {to}: {message}");
    }
}

#[test]
fn a_damaged_general_network_is_named() {
    let cases = [
        ("\"Conv1D\"", "\"LSTM\"", "layer `encoder_1` of class `LSTM`: this class of layer"),
        ("\"Conv1D\"", "\"Lambda\"", "it holds code, and nothing of a file is executed"),
        ("\"module\":\"keras.layers\"", "\"module\":\"os\"", "its code is in `os`"),
        ("\"Functional\"", "\"Sequential2\"", "this class of model is not supported"),
        ("[\"flat\",0,0]", "[\"flat\",1,0]", "used more than once"),
        ("[\"flat\",0,0]", "[\"flut\",0,0]", "layer `latent` of class `Dense`: it reads a layer"),
        ("[\"flat\",0,0]", "[\"latent\",0,0]", "it reads a layer that is not there"),
        ("\"filters\":4", "\"filters\":0", "its filters is 0, it must be 1 to 1048576"),
        ("\"filters\":4", "\"filters\":3", "weights `layers/conv1d/vars/0` have shape"),
        ("\"filters\":4", "\"filters\":\"x\"", "`filters` is \"x\", no whole number"),
        ("\"kernel_size\":[5]", "\"kernel_size\":[5,5]", "`kernel_size` is [5,5]"),
        ("\"batch_shape\":[null,10,2]", "\"batch_shape\":[null,99999999,2]", "sizes must be 1 to"),
        ("\"units\":2", "\"units\":1048576", "at most 16000000 weights"),
        ("\"activation\":\"gelu\"", "\"activation\":\"mish\"", "`mish` is not supported"),
        ("channels_last", "channels_first", "`data_format` is \"channels_first\""),
    ];
    for (from, to, expected) in cases {
        let bytes = edited_of(valid_graph(), |name, content| {
            if name != "config.json" {
                return content;
            }
            let text = String::from_utf8(content).unwrap();
            assert!(text.contains(from), "{from} is not in {text}");
            text.replace(from, to).into_bytes()
        });
        let message = decode_graph(&bytes).unwrap_err().to_string();
        assert!(message.contains(expected), "{from} → {to}: {message}");
    }
}

#[test]
fn weights_of_another_size_are_refused() {
    let other = encode(&Network::new(Config::recipe(2), 1).unwrap(), "{}").unwrap();
    let mut archive = ZipArchive::new(Cursor::new(other)).unwrap();
    let mut weights = vec![];
    archive.by_name("model.weights.h5").unwrap().read_to_end(&mut weights).unwrap();
    let bytes =
        edited(|name, content| if name == "model.weights.h5" { weights.clone() } else { content });
    let error = decode(&bytes).unwrap_err();
    assert!(matches!(error, ModelError::WeightShape { .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..<_>::default() })]

    /// The checksums of the zip stop nearly all of these.
    #[test]
    fn damaged_files_never_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..8), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = valid();
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = decode(&bytes);
    }

    /// Behind correct checksums: the HDF5 reader and the reader of the graph.
    #[test]
    fn damaged_entries_never_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
        (weights, general) in any::<(bool, bool)>(),
    ) {
        let target = if weights { "model.weights.h5" } else { "config.json" };
        let bytes = if general { valid_graph() } else { valid() };
        let bytes = edited_of(bytes, |name, mut content| {
            if name == target {
                for (at, byte) in &flips {
                    // Structure stands in the first kilobytes, so half of the damage goes there.
                    let range = if byte % 2 == 0 { content.len() } else { content.len().min(4096) };
                    let at = at.index(range);
                    content[at] = *byte;
                }
                if let Some(cut) = cut {
                    content.truncate(cut.index(content.len()).max(1));
                }
            }
            content
        });
        let _ = decode(&bytes);
        let _ = decode_graph(&bytes);
        let _ = Model::decode(&bytes);
    }

    /// Numbers and words of a description exchanged for others.
    #[test]
    fn strange_descriptions_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..12), 1..4),
    ) {
        const OTHERS: [&str; 12] = [
            "0", "-1", "1048576", "18446744073709551615", "1e300", "null", "\"same\"", "[]", "{}",
            "[[1,2],[3,4]]", "\"Conv2D\"", "\"Add\"",
        ];
        let bytes = edited_of(valid_graph(), |name, content| {
            if name != "config.json" {
                return content;
            }
            let mut words: Vec<String> = String::from_utf8(content).unwrap()
                .split_inclusive([',', ':', '[', ']', '{', '}']).map(str::to_owned).collect();
            for (at, other) in &changes {
                let n_words = words.len();
                let word = &mut words[at.index(n_words)];
                let end = word.chars().last().unwrap();
                if word.len() > 1 {
                    *word = format!("{}{end}", OTHERS[*other]);
                }
            }
            words.concat().into_bytes()
        });
        if let Ok((Model::Reconstruction(network), _)) = Model::decode(&bytes) {
            let _ = network.score(&crate::waves(2, 12, 0.0), 1);
        }
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(&bytes);
        let _ = decode(&[b"PK\x03\x04".as_slice(), &bytes].concat());
    }
}
