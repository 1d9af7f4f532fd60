use super::*;
use hdf5_pure::{AttrValue, File};

fn text(text: &str) -> Attr {
    Attr::Text(text.into())
}

fn sample() -> (Group, Vec<Vec<u8>>) {
    let mut root = Group::default();
    let mut data = Vec::new();
    root.attrs.push(("keras_version".into(), text("3.15.1")));
    root.attrs.push(("model_config".into(), text(&"{\"é\": 1}".repeat(20_000))));
    // More children than a leaf, and than a node, holds.
    for number in 0..600u32 {
        let path = format!("layers/dense_{number}/vars");
        let group = root.group(&path).unwrap();
        group.attrs.push(("name".into(), text(&format!("d{number}"))));
        data.push(number.to_le_bytes().repeat(3));
        let array = Array { dtype: DType::F32, dims: vec![3, 1], data: data.len() - 1 };
        assert!(root.put(&format!("{path}/0"), array));
    }
    for dtype in DType::ALL.iter().filter(|dtype| **dtype != DType::Str) {
        data.push(vec![1; dtype.size() * 2]);
        let array = Array { dtype: *dtype, dims: vec![2], data: data.len() - 1 };
        assert!(root.put(&format!("types/{dtype}"), array));
    }
    data.push(vec![7, 0, 0, 0]);
    assert!(root.put("scalar", Array { dtype: DType::I32, dims: vec![], data: data.len() - 1 }));
    data.push(vec![]);
    assert!(root.put("none", Array { dtype: DType::F32, dims: vec![0, 4], data: data.len() - 1 }));
    let long: Vec<String> = (0..3000).map(|number| format!("a_rather_long_name_of_a_layer_{number}")).collect();
    root.attrs.extend(names("layer_names", &long));
    root.attrs.extend(names("weight_names", &[]));
    (root, data)
}

fn written(root: &Group, data: &[Vec<u8>]) -> Vec<u8> {
    let plan = plan(root).unwrap();
    let mut out = Vec::new();
    plan.write(&mut out, &mut |number, take| take(&data[number])).unwrap();
    assert_eq!(out.len() as u64, plan.len());
    out
}

#[test]
fn what_is_written_is_read_back() {
    let (root, data) = sample();
    let bytes = written(&root, &data);
    assert_eq!(bytes, written(&root, &data));
    // Where the real library should have a look at it.
    if let Some(path) = std::env::var_os("RECAST_KEEP_HDF5") {
        std::fs::write(path, &bytes).unwrap();
    }
    let file = File::from_bytes(bytes).unwrap();
    let attrs = file.root().attrs().unwrap();
    assert_eq!(attrs["keras_version"].as_str(), Some("3.15.1"));
    assert_eq!(attrs["model_config"].as_str().unwrap().len(), 180_000);
    let parts: Vec<String> =
        (0..2).flat_map(|part| attrs[&format!("layer_names{part}")].as_strings().unwrap().to_vec()).collect();
    assert_eq!((parts.len(), parts[2999].as_str()), (3000, "a_rather_long_name_of_a_layer_2999"));
    assert!(matches!(&attrs["weight_names"], AttrValue::F64Array(none) if none.is_empty()));
    for number in [0u32, 7, 8, 255, 599] {
        let group =
            file.root().group("layers").unwrap().group(&format!("dense_{number}")).unwrap().group("vars").unwrap();
        assert_eq!(group.attrs().unwrap()["name"].as_str().unwrap(), format!("d{number}"));
        let array = group.dataset("0").unwrap();
        assert_eq!(array.shape().unwrap(), [3, 1]);
        assert_eq!(array.read_raw().unwrap(), number.to_le_bytes().repeat(3));
    }
    let types = file.root().group("types").unwrap();
    assert_eq!(types.iter_datasets().unwrap().count(), DType::ALL.len() - 1);
    assert_eq!(file.root().dataset("scalar").unwrap().read_raw().unwrap(), [7, 0, 0, 0]);
    assert_eq!(file.root().dataset("none").unwrap().shape().unwrap(), [0, 4]);
}

#[test]
fn a_wrong_number_of_bytes_is_no_file() {
    let mut root = Group::default();
    assert!(root.put("x", Array { dtype: DType::F32, dims: vec![2], data: 0 }));
    assert!(!root.put("x", Array { dtype: DType::F32, dims: vec![2], data: 1 }));
    assert!(root.group("x/y").is_none());
    let plan = plan(&root).unwrap();
    let short = plan.write(&mut Vec::new(), &mut |_, take| take(&[0; 4])).unwrap_err();
    assert_eq!(short.code, Code::Bug);
    let mut wide = Group::default();
    assert!(wide.put("x", Array { dtype: DType::F64, dims: vec![u64::MAX, 2], data: 0 }));
    assert_eq!(super::plan(&wide).err().map(|diag| diag.code), Some(Code::UnsupportedType));
}
