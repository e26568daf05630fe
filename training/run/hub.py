"""Uploads a result to the Hugging Face hub, or to the one that HF_ENDPOINT names."""

from __future__ import annotations

from pathlib import Path

from keysync.errors import KeySyncError, install_line, one_line

README = "README.md"


def check_hub(repository: str) -> None:
    """Raises `KeySyncError` before any work where nothing can be uploaded: a package or an account is missing."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise KeySyncError(f"uploading needs huggingface_hub: {install_line('huggingface_hub')}") from error
    owner, slash, name = repository.partition("/")
    if not (owner and slash and name) or "/" in name:
        raise KeySyncError(f"{repository!r} is not a repository: expected OWNER/NAME")
    if not huggingface_hub.get_token():
        raise KeySyncError("uploading needs an account: run hf auth login, or set HF_TOKEN to a token that may write")


def push(file: Path, card: str, repository: str, *, public: bool = False) -> str:
    """Uploads a file and its card as one commit; returns its address. A new repository is private, unless `public`.

    Raises `KeySyncError` if the hub refuses.
    """
    check_hub(repository)
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi()
    try:
        api.create_repo(repository, private=not public, exist_ok=True)
        added = [
            CommitOperationAdd(file.name, str(file)),
            CommitOperationAdd(README, card.encode()),
        ]
        done = api.create_commit(repository, added, commit_message=f"Upload {file.name}")
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise KeySyncError(
            f"cannot upload {file} to {repository} ({one_line(error)}): the file is written; check the name and the "
            "token, and try again"
        ) from error
    return str(done.commit_url)
