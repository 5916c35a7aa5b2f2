//! What an outbox promises: what it knew it knows again, and files go when nobody waits.

use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::*;
use crate::steps::decode;

fn channel(id: u8) -> ChannelId {
    ChannelId::new(&format!("cams-{id}")).unwrap()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

/// One thing done to an outbox.
#[derive(Clone, Debug)]
enum Step {
    Queue(u8, u32),
    Begin(u8, u32),
    PutBack(u8, u32),
    End(u8, u32),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let group = 0..4_u8;
    let step = prop_oneof![
        (group.clone(), 1..5_u32).prop_map(|(group, count)| Step::Queue(group, count)),
        (group.clone(), 0..5_u32).prop_map(|(group, place)| Step::Begin(group, place)),
        (group.clone(), 0..5_u32).prop_map(|(group, place)| Step::PutBack(group, place)),
        (group, 0..5_u32).prop_map(|(group, place)| Step::End(group, place)),
        Just(Step::Reopen),
    ];
    prop::collection::vec(step, 0..40)
}

/// The simplest outbox: how far every recipient of every group is.
#[derive(Default)]
struct Model(BTreeMap<u8, Vec<Stage>>);

impl Model {
    fn put(&mut self, group: u8, place: u32, stage: Stage) {
        let stages = self.0.get_mut(&group);
        let known = stages.and_then(|stages| stages.get_mut(place as usize));
        if let Some(known) = known.filter(|known| **known != Stage::Ended) {
            *known = stage;
        }
        self.0.retain(|_, stages| stages.iter().any(|stage| *stage != Stage::Ended));
    }

    fn waiting(&self) -> BTreeMap<String, (Places, Places)> {
        let at = |stages: &[Stage], stage| {
            (0..)
                .zip(stages)
                .filter(|(_, known)| **known == stage)
                .map(|(place, _)| place)
                .collect()
        };
        let places = |stages: &Vec<Stage>| (at(stages, Stage::Waiting), at(stages, Stage::Begun));
        self.0.iter().map(|(group, stages)| (group.to_string(), places(stages))).collect()
    }
}

fn known(outbox: &Outbox) -> BTreeMap<String, (Places, Places)> {
    outbox.waiting().into_iter().map(|it| (it.group, (it.waiting, it.begun))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn it_knows_after_a_restart_what_it_knew_before(steps in steps()) {
        let (folder, runtime) = (tempfile::tempdir().unwrap(), runtime());
        let (mut outbox, mut model) = (Outbox::open(folder.path()).unwrap(), Model::default());
        for step in steps {
            let (of, name) = (channel(0), |group: u8| group.to_string());
            match step {
                Step::Queue(group, count) => {
                    let (name, count) = (name(group), count as usize);
                    runtime.block_on(outbox.queue(&of, &name, count, Time(1))).unwrap();
                    let waiting = || vec![Stage::Waiting; count];
                    model.0.entry(group).or_insert_with(waiting);
                }
                Step::Begin(group, place) => {
                    runtime.block_on(outbox.begin(&of, &name(group), vec![place])).unwrap();
                    model.put(group, place, Stage::Begun);
                }
                Step::PutBack(group, place) => {
                    runtime.block_on(outbox.put_back(&of, &name(group), vec![place])).unwrap();
                    model.put(group, place, Stage::Waiting);
                }
                Step::End(group, place) => {
                    runtime.block_on(outbox.end(&of, &name(group), vec![place])).unwrap();
                    model.put(group, place, Stage::Ended);
                }
                Step::Reopen => {
                    drop(outbox);
                    outbox = Outbox::open(folder.path()).unwrap();
                }
            }
            prop_assert_eq!(known(&outbox), model.waiting());
        }
    }
}

#[test]
fn files_go_when_what_is_in_them_has_ended() {
    let (folder, runtime) = (tempfile::tempdir().unwrap(), runtime());
    let outbox = Outbox::open(folder.path()).unwrap();
    runtime.block_on(outbox.queue(&channel(9), "waits", 1, Time(1))).unwrap();
    let send = |group: &str| {
        let of = channel(1);
        runtime.block_on(async {
            outbox.queue(&of, group, 2, Time(2)).await.unwrap();
            outbox.begin(&of, group, vec![0, 1]).await.unwrap();
            outbox.end(&of, group, vec![0, 1]).await.unwrap();
        });
    };
    (0..40).for_each(|group| send(&format!("group-{group}")));
    assert!(files(folder.path()) > 4, "one that waits keeps what came later");
    runtime.block_on(outbox.end(&channel(9), "waits", vec![0])).unwrap();
    assert_eq!(files(folder.path()), 1);
    (0..40).for_each(|group| send(&format!("again-{group}")));
    assert!(files(folder.path()) <= 2);
    assert!(outbox.is_empty());
}

#[tokio::test]
async fn limits_hold_at_the_edge() {
    let outbox = Outbox::in_memory();
    let refused = outbox.queue(&channel(1), "a", GROUP_RECIPIENTS_MAX + 1, Time(1)).await;
    assert!(matches!(refused, Err(Error::TooLarge { limit: GROUP_RECIPIENTS_MAX, .. })));
    let most = CHANNEL_WAITING_MAX;
    outbox.queue(&channel(1), "a", most - 1, Time(1)).await.unwrap();
    let refused = outbox.queue(&channel(1), "b", 2, Time(1)).await;
    assert!(matches!(refused, Err(Error::Busy { limit: CHANNEL_WAITING_MAX, .. })));
    outbox.queue(&channel(1), "b", 1, Time(1)).await.unwrap();
    // One channel that is full leaves room for others, up to what all may have.
    let refused = outbox.queue(&channel(3), "c", WAITING_MAX - most + 1, Time(1)).await;
    assert!(matches!(refused, Err(Error::Busy { limit: WAITING_MAX, .. })));
    outbox.queue(&channel(3), "c", WAITING_MAX - most, Time(1)).await.unwrap();
    outbox.end(&channel(1), "b", vec![0]).await.unwrap();
    assert_eq!((outbox.len(), outbox.len_of(&channel(1))), (WAITING_MAX - 1, most - 1));
    // The same name is another group in another channel, and queued once in its own.
    outbox.queue(&channel(2), "a", 1, Time(1)).await.unwrap();
    assert_eq!(outbox.waiting().len(), 3);
}

#[test]
fn what_cannot_be_read_says_where() {
    let folder = Path::new("outbox");
    let newer = decode::<Groups>(folder, 7, &[Groups::VERSION + 1]).err().unwrap().to_string();
    assert!(newer.contains("record 7") && newer.contains("newer"), "{newer}");
    for bytes in [&[][..], &[Groups::VERSION], &[Groups::VERSION, 9, 1]] {
        let why = decode::<Groups>(folder, 7, bytes).err().unwrap().to_string();
        assert!(why.contains("record 7"), "{why}");
    }
}
