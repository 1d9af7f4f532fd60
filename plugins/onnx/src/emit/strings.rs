use super::unsupported;
use super::{Emit, Emitting};
use recast_plugin_api::ir::{IndexToString, Node, StringFunction, StringMap, StringToIndex};

/// The domain of ONNX' ops of classical machine learning, which alone has tables, and its version that has these.
pub const ML: (&str, i64) = ("ai.onnx.ml", 2);

pub fn string_to_index(op: &StringToIndex, node: &Node, e: &mut Emit) -> Emitting {
    let x = e.arg(node, 0)?;
    let build = e.op("LabelEncoder", &[&x]).domain(ML.0).int("default_int64", op.fallback);
    build.strs("keys_strings", &op.keys).ints("values_int64s", op.values.iter().copied()).to(node.outputs[0]);
    Ok(())
}

pub fn index_to_string(op: &IndexToString, node: &Node, e: &mut Emit) -> Emitting {
    let x = e.arg(node, 0)?;
    let build = e.op("LabelEncoder", &[&x]).domain(ML.0).str("default_string", &op.fallback);
    build.ints("keys_int64s", op.keys.iter().copied()).strs("values_strings", &op.values).to(node.outputs[0]);
    Ok(())
}

/// ONNX' normalizer takes vectors. Under the locale "C" it knows the letters of ASCII alone.
pub fn string_map(op: &StringMap, node: &Node, e: &mut Emit) -> Emitting {
    if op.function == StringFunction::StripPunctuation {
        return Err(unsupported(node, "ONNX takes nothing out of strings")
            .hint("set standardize=None or \"lower\", and take the punctuation out before the model"));
    }
    let x = e.arg(node, 0)?;
    let shape = e.graph().shape(node.outputs[0]).to_vec();
    let vector = e.ints(&[-1]);
    let flat = e.call("Reshape", &[&x, &vector]);
    let lower = e.op("StringNormalizer", &[&flat]).str("case_change_action", "LOWER").str("locale", "C").tmp();
    let target = e.shape_vector(&shape)?;
    e.op("Reshape", &[&lower, &target]).to(node.outputs[0]);
    Ok(())
}

/// (op, why it is not written, what to do)
pub const LACKS: &[(&str, &str, &str)] = &[
    // ONNX Runtime takes spaces alone for white space, the standard's own reference all of Unicode's; Keras means
    // ASCII's. Characters it does not cut into at all.
    (
        "string_split",
        "ONNX' runtimes do not agree on what white space is, and none splits as Keras does, nor into characters",
        "split the texts before the model, without their punctuation (split=None, standardize=None or \"lower\"), or \
         choose the target `savedmodel`",
    ),
    ("string_hash", "ONNX has no hash of strings", "hash them before the model, or choose the target `savedmodel`"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use crate::proto::NodeProto;
    use crate::write::{About, plan};
    use recast_plugin_api::ir::{DType, Graph, Type};

    fn texts(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| word.to_string()).collect()
    }

    fn looked_up() -> Graph {
        let mut graph = Graph::new("g");
        let x = graph.input("x", Type::known(DType::Str, &[2]));
        let table = StringToIndex { keys: texts(&["a", "\u{fc}"]), values: vec![2, -7], fallback: 1 };
        let index = graph.add("l", table, &[x]).unwrap();
        let table = IndexToString { keys: vec![2, 1], values: texts(&["", "b"]), fallback: "?".into() };
        let word = graph.add("l", table, &[index]).unwrap();
        graph.output("y", word);
        graph
    }

    /// Attribute `name`: its texts, numbers, default number, default text.
    fn attribute(node: &NodeProto, name: &str) -> (Vec<String>, Vec<i64>, Option<i64>, Option<Vec<u8>>) {
        let found = node.attribute.iter().find(|attribute| attribute.name.as_deref() == Some(name)).unwrap();
        let texts = found.strings.iter().map(|text| String::from_utf8(text.clone()).unwrap()).collect();
        (texts, found.ints.clone(), found.i, found.s.clone())
    }

    #[test]
    fn tables_are_encoders_of_labels() {
        let emitted = super::super::graph(&looked_up(), Some(17)).unwrap_or_else(|findings| panic!("{}", findings[0]));
        let [to, from] = &emitted.nodes[..] else { panic!("{} nodes", emitted.nodes.len()) };
        for node in [to, from] {
            assert_eq!((node.op_type.as_deref(), node.domain.as_deref()), (Some("LabelEncoder"), Some(ML.0)));
        }
        assert_eq!(attribute(to, "keys_strings").0, ["a", "\u{fc}"]);
        assert_eq!(attribute(to, "values_int64s").1, [2, -7]);
        assert_eq!(attribute(to, "default_int64").2, Some(1));
        assert_eq!(attribute(from, "keys_int64s").1, [2, 1]);
        assert_eq!(attribute(from, "values_strings").0, ["", "b"]);
        assert_eq!(attribute(from, "default_string").3.as_deref(), Some("?".as_bytes()));
    }

    struct NoWeights;

    impl crate::write::Weights for NoWeights {
        fn read(
            &self,
            _name: &str,
            _take: &mut dyn FnMut(&[u8]) -> Result<(), recast_plugin_api::diag::Diag>,
        ) -> Result<(), recast_plugin_api::diag::Diag> {
            Ok(())
        }
    }

    #[test]
    fn the_domain_is_imported_where_it_is_used() {
        let about = About { name: "m", source_digest: "", recast_version: "0" };
        let mut plain = Graph::new("g");
        let x = plain.input("x", Type::known(DType::F32, &[2]));
        plain.output("y", x);
        for (graph, wanted) in [(looked_up(), true), (plain, false)] {
            let plan = plan(&graph, &Options::default(), &about).unwrap_or_else(|findings| panic!("{}", findings[0]));
            let mut bytes = Vec::new();
            plan.write_model(&NoWeights, &mut bytes, &|_, _| Ok(())).unwrap();
            let imports = [&[ML.0.len() as u8], ML.0.as_bytes(), &[0x10, ML.1 as u8]].concat();
            assert_eq!(bytes.windows(imports.len()).any(|window| window == imports), wanted);
        }
    }
}
