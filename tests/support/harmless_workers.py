"""Concurrent Python code that must work in a stage: `harmless_workers.py WAY`, like harmless_python."""

from __future__ import annotations

import asyncio
import concurrent.futures
import multiprocessing
import os
import queue
import signal
import sys
import threading
from multiprocessing import shared_memory

START_METHODS = ("fork", "spawn")


def square(number):
    return number * number


def asyncio_loop():
    async def delayed(name, seconds):
        await asyncio.sleep(seconds)
        return name

    async def story():
        loop = asyncio.get_running_loop()
        received = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, received.set)
        os.kill(os.getpid(), signal.SIGUSR1)
        await asyncio.wait_for(received.wait(), 10)
        print(await asyncio.gather(delayed("b", 0.01), delayed("a", 0), asyncio.to_thread(square, 7)))
        with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
            print(await loop.run_in_executor(None, square, 8), await loop.run_in_executor(pool, square, 9))

    asyncio.run(story())


def asyncio_subprocesses():
    async def upper(text):
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec("tr", "a-z", "A-Z", stdin=pipe, stdout=pipe)
        output, _ = await child.communicate(text.encode())
        return child.returncode, output.decode()

    async def story():
        print(await asyncio.gather(*(upper(f"word{number}") for number in range(8))))
        shell = await asyncio.create_subprocess_shell("exit 7")
        print(await shell.wait())
        stopped = await asyncio.create_subprocess_exec("sleep", "60")
        stopped.terminate()
        print(await stopped.wait())

    asyncio.run(story())


def asyncio_pipes():
    async def story():
        loop = asyncio.get_running_loop()
        read, write = os.pipe()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read, "rb"))
        transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(write, "wb"))
        transport.write(b"through a pipe\n")
        transport.close()
        print(await reader.read())

    asyncio.run(story())


def pools():
    for method in START_METHODS:
        context = multiprocessing.get_context(method)
        with context.Pool(3) as pool:
            print(method, pool.map(square, range(20), chunksize=3), sorted(pool.imap_unordered(square, range(4))))
        with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
            print(method, list(pool.map(square, range(10))), pool.submit(square, 12).result())


def _work(jobs, answers, lock, total, barrier):
    barrier.wait(30)
    for number in iter(jobs.get, None):
        with lock:
            total.value += number
        answers.send(square(number))
    answers.close()


def processes():
    for method in START_METHODS:
        context = multiprocessing.get_context(method)
        jobs, (mine, theirs) = context.Queue(), context.Pipe()
        lock, total, barrier = context.Lock(), context.Value("i", 0), context.Barrier(3)
        workers = [context.Process(target=_work, args=(jobs, theirs, lock, total, barrier)) for _ in range(2)]
        for worker in workers:
            worker.start()
        barrier.wait(30)
        for number in (*range(10), None, None):
            jobs.put(number)
        print(method, sorted(mine.recv() for _ in range(10)))
        for worker in workers:
            worker.join()
        print(total.value, [worker.exitcode for worker in workers])


def _fill(name):
    block = shared_memory.SharedMemory(name=name)
    block.buf[:5] = b"hello"
    block.close()


def shared_memories():
    for method in START_METHODS:
        block = shared_memory.SharedMemory(create=True, size=4096)
        worker = multiprocessing.get_context(method).Process(target=_fill, args=(block.name,))
        worker.start()
        worker.join()
        print(method, bytes(block.buf[:5]), worker.exitcode)
        block.close()
        block.unlink()


def threads():
    answers: queue.Queue[int] = queue.Queue()
    many = [threading.Thread(target=lambda number=number: answers.put(square(number))) for number in range(50)]
    for thread in many:
        thread.start()
    for thread in many:
        thread.join()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        print(sum(answers.queue), sum(pool.map(square, range(100))))


def manager():
    with multiprocessing.Manager() as made:
        made.list()


def forkserver():
    with multiprocessing.get_context("forkserver").Pool(1) as pool:
        pool.map(square, [1])


HARMLESS = (asyncio_loop, asyncio_subprocesses, asyncio_pipes, pools, processes, shared_memories, threads)
LOCAL_SOCKETS = (manager, forkserver)

if __name__ == "__main__":
    {way.__name__: way for way in (*HARMLESS, *LOCAL_SOCKETS)}[sys.argv[1]]()
