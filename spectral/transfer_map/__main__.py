"""Measure where the energy of each frequency leaves attention: `python -m spectral.transfer_map ckpt.pt`."""

from models.command_line import print_json, run
from spectral import command_line as options
from spectral.command_line import Output, Subject, print_table, users_of


def main(
    checkpoint: options.CheckpointArgument,
    *,
    users: options.Users,
    length: options.LengthOption = None,
    c: options.COption = None,
    files: options.Files,
    loading: options.Loading,
) -> None:
    """Measure at which frequency the energy leaves the attention of each layer and head that enters at each frequency.

    Prints for low and high modes entering how much leaves in the c low and in the high modes: lfc_lfc, lfc_hfc, hfc_lfc
    and hfc_hfc. Writes transfer_map.png, .pdf and .csv with the whole map. Only users with full windows are measured,
    or with --length the users with exactly n items.
    """
    from spectral.transfer_map import TransferMap

    output = Output.prepare("transfer_map", checkpoint, files)
    subject = Subject.load(checkpoint, **vars(users), **vars(loading), c=c)
    subject.check_attention()
    c = subject.modes(c, length)
    windows = subject.full_windows(length)
    subject.describe(len(windows), f"{users_of(length, 'users with full windows')} (of {len(subject.windows):,})")
    measured = TransferMap.from_captures(subject.captures(windows, hidden=False), c, length)
    if files.json:
        print_json({"users": measured.users, "c": c, "maps": measured.summary()})
    else:
        print_table(measured.summary(), {})
    output.save(measured.labelled(subject.model.name))


if __name__ == "__main__":
    run(main)
