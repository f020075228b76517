"""Runs work in other processes, which end with their parent."""

import itertools
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import tensorflow as tf

Result = TypeVar("Result")


def run(
    work: Callable[..., Result],
    tasks: Iterable[tuple[Any, ...]],
    workers: int,
    start: Callable[..., None],
    start_args: tuple[Any, ...],
) -> Iterator[Result]:
    """Yields the results of tasks, in the order in which they finish.

    Only a few tasks are taken at a time, as there may be many or large ones.

    Args:
        work: Function for a task. It is sent by name, so it must belong to a
            module.
        tasks: Arguments of `work` for each task.
        workers: Number of processes; 1 works in this process.
        start: Called in each process before its first task.
        start_args: Arguments of `start`.

    Raises:
        OSError: A process died.
    """
    if workers <= 1:
        start(*start_args)
        for task in tasks:
            yield work(*task)
        return
    # Spawned: TensorFlow hangs in forked processes.
    pool = futures.ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_child,
        initargs=(start, start_args),
    )
    waiting = iter(tasks)
    try:
        running = {
            pool.submit(work, *task)
            for task in itertools.islice(waiting, 2 * workers)
        }
        while running:
            done, running = futures.wait(
                running, return_when=futures.FIRST_COMPLETED
            )
            for future in done:
                for task in itertools.islice(waiting, 1):
                    running.add(pool.submit(work, *task))
                yield future.result()
    except BrokenProcessPool as error:
        raise OSError(
            "A worker died (killed, or out of memory). Finished shards are "
            "kept: run the same command again, with fewer --workers if "
            "memory was short."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_child(
    start: Callable[..., None], start_args: tuple[Any, ...]
) -> None:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    start(*start_args)


def _exit_with_parent() -> None:
    # A killed parent leaves its workers waiting for work forever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
