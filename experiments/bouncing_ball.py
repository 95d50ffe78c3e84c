"""Where will the ball be next? One frame against many, positions and video (G1, G2).

    rms error on test, in sides of the box
    zoo train bouncing_ball --seed 0 (1)       0.017, 0.017, LSTM on all frames so far; 1 minute
    zoo train bouncing_ball_window1            0.037, dense layers on one frame; half a minute
    zoo train bouncing_ball_window2 (8)        0.024 on two frames, 0.019 on eight
    zoo baseline bouncing_ball --split test    0.024, straight line through two positions
    zoo over step bouncing_ball bouncing_ball_window1 bouncing_ball_window2 bouncing_ball_window8

By frames seen, on validation: the LSTM's error falls from 0.064 after one over 0.030 after three to 0.013 after thirty;
with a window of two it stays between 0.025 and 0.031. Measured with one CPU core to each training, JAX 0.10.2,
2026-11-22. From the video (`zoo train bouncing_ball_video`) 0.093 after 3 minutes; with twice the epochs in batches of
32 it had been 0.087.
"""

import dataclasses

from zoo_experiments.verbs.experiment import Experiment, Optimisation

LSTM = Experiment(
    title="next position of a ball, LSTM on all frames so far",
    data="bouncing_ball",
    model="lstm",
    options=("width=64",),
    optimisation=Optimisation(learning_rate=5e-3, weight_decay=1e-4, clip=1.0, ema=0.99),
    epochs=40,
    batch_size=64,
    evaluations=5,
    score="rmse",
    baseline="straight_line",
)


def window(frames: int) -> Experiment:
    """The same with dense layers on so many frames."""
    told = "one frame" if frames == 1 else f"the last {frames} frames"
    return dataclasses.replace(
        LSTM,
        title=f"next position of a ball, dense layers on {told}",
        model="window",
        options=(f"window={frames}", "widths=(64, 64)"),
    )


EXPERIMENTS = {
    "bouncing_ball": LSTM,
    "bouncing_ball_window1": window(1),
    "bouncing_ball_window2": window(2),
    "bouncing_ball_window8": window(8),
    "bouncing_ball_video": dataclasses.replace(
        LSTM,
        title="next position of a ball from a video, convolutional LSTM",
        data="bouncing_ball/video",
        model="conv_lstm",
        options=("widths=(12,)",),
        epochs=3,
        batch_size=16,
        baseline="",
    ),
}

if __name__ == "__main__":
    import sys

    from zoo_experiments.verbs.cli import main

    sys.exit(main(["train", "bouncing_ball", *sys.argv[1:]]))
