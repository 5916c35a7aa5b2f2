# List the recipes.
_:
    @just --list

# Everything CI checks.
ci:
    bash .ci/run

fmt:
    cargo fmt --all

fmt-check:
    cargo fmt --all --check

lint:
    cargo clippy --workspace --all-targets --all-features --locked -- -D warnings

test *args:
    cargo nextest run --workspace --all-features --locked {{args}}

doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked

deny:
    cargo deny check bans licenses sources

# The real clients against a demo of this checkout.
conformance:
    bash conformance/ci.sh

# Rewrite docs/reference and the snapshots, then look at the diff.
bless:
    UPDATE=1 INSTA_UPDATE=always cargo nextest run --workspace --all-features
