import { afterEach, describe, expect, test, vi } from "vitest";
import { DiskSpaces } from "../../../agent/stats/disk-space.ts";
import { diskPathsOf } from "../../../agent/stats/mounts.ts";
import { parseProcStat, ProcessorClock } from "../../../agent/stats/processors.ts";
import { MAX_DISKS } from "../../../shared/protocol/limits.ts";

const space = { totalBytes: 100, availableBytes: 40 };

afterEach(() => {
  vi.useRealTimers();
});

describe("the processors' times", () => {
  test("are idle while they wait for disks, and a guest's are not counted twice", () => {
    const text = [
      "cpu  100 20 30 1000 50 6 7 8 90 10",
      "cpu0 50 10 15 500 25 3 3 4 45 5",
      "cpu1 50 10 15 500 25 3 4 4 45 5",
      "intr 12345 cpu2 ",
      "ctxt 1",
    ].join("\n");
    expect(parseProcStat(text)).toEqual({ cpus: 2, cpuBusyMs: 1_710, cpuIdleMs: 10_500 });
  });

  test("do not go back, though the kernel takes back some of the wait for disks", () => {
    const clock = new ProcessorClock();
    const texts = [
      "cpu 100 0 0 1000 50 0 0 0\ncpu0 1",
      "cpu 201 0 0 1000 49 0 0 0\ncpu0 1",
      "cpu 202 0 0 1002 49 0 0 0\ncpu0 1",
    ];
    expect(texts.map((text) => clock.read(text))).toEqual([
      { cpus: 1, cpuBusyMs: 1_000, cpuIdleMs: 10_500 },
      { cpus: 1, cpuBusyMs: 2_010, cpuIdleMs: 10_500 },
      { cpus: 1, cpuBusyMs: 2_020, cpuIdleMs: 10_510 },
    ]);
  });

  test("of a text that has none are an error", () => {
    expect(() => parseProcStat("")).toThrow("/proc/stat has no line");
  });
});

describe("the disks", () => {
  test.each([
    {
      are: "file systems on block devices, and the root whatever it is on",
      mounts: [
        "overlay / overlay rw 0 0",
        "proc /proc proc rw 0 0",
        "tmpfs /run tmpfs rw 0 0",
        "/dev/vdb /data ext4 rw 0 0",
      ],
      paths: ["/", "/data"],
    },
    {
      are: "each device once, by its shortest mount point",
      mounts: [
        "/dev/vda1 /etc/hosts ext4 rw 0 0",
        "/dev/vda1 / ext4 rw 0 0",
        "/dev/vdb /srv/data xfs rw 0 0",
        "/dev/vdb /srv xfs rw 0 0",
      ],
      paths: ["/", "/srv"],
    },
    {
      are: "named as they are, with spaces, tabs and backslashes",
      mounts: [String.raw`/dev/vdb /my\040disk\011\134x ext4 rw 0 0`],
      paths: ["/", "/my disk\t\\x"],
    },
    {
      are: "what is to be seen, not what another is mounted over",
      mounts: [
        "/dev/vdb /data ext4 rw 0 0",
        "tmpfs /data tmpfs rw 0 0",
        "/dev/vdc /srv ext4 rw 0 0",
        "/dev/vdd /srv ext4 rw 0 0",
      ],
      paths: ["/", "/srv"],
    },
    {
      are: "not images, which are full by nature",
      mounts: [
        "/dev/loop0 /snap/core squashfs ro 0 0",
        "/dev/sr0 /mnt iso9660 ro 0 0",
        "/dev/sr1 /media/dvd udf ro 0 0",
      ],
      paths: ["/"],
    },
    {
      are: "not what any user may mount and name as he likes, but what only root can",
      mounts: [
        "/dev/vdb /home/user/x fuse.sshfs rw 0 0",
        "/dev/vdc /home/user/y fuse rw 0 0",
        "/dev/vdd /windows fuseblk rw 0 0",
      ],
      paths: ["/", "/windows"],
    },
    {
      are: "no datasets of ZFS but the root, which are on no device",
      mounts: ["rpool/ROOT/debian / zfs rw 0 0", "tank/data /tank/data zfs rw,xattr,noacl 0 0"],
      paths: ["/"],
    },
    {
      are: "not those whose path does not fit an answer",
      mounts: [`/dev/vdb /${"x".repeat(256)} ext4 rw 0 0`],
      paths: ["/"],
    },
    { are: "the root alone when nothing can be read of the table", mounts: ["", "nonsense", "/dev/vdb"], paths: ["/"] },
  ])("are $are", ({ mounts, paths }) => {
    expect(diskPathsOf(`${mounts.join("\n")}\n`)).toEqual(paths);
  });

  test("are no more than an answer takes", () => {
    const mounts = Array.from({ length: 100 }, (_, index) => `/dev/vd${index} /disk${index} ext4 rw 0 0`);
    const paths = diskPathsOf(mounts.join("\n"));
    expect(paths).toHaveLength(MAX_DISKS);
    expect(paths[0]).toBe("/");
  });
});

/** File systems `/`, `/a`, `/b` ...; those that hang answer when they are told to. */
function someDisks(
  names: string[],
  { hanging = [], failing = [], empty = [] }: { hanging?: string[]; failing?: string[]; empty?: string[] },
) {
  const asked: string[] = [];
  const wake = new Map<string, () => void>();
  const disks = new DiskSpaces({
    mounts: () => Promise.resolve(names.map((name) => `/dev${name} ${name} ext4 rw 0 0`).join("\n")),
    spaceOf: (path) => {
      asked.push(path);
      if (failing.includes(path)) return Promise.reject(new Error("EIO"));
      if (empty.includes(path)) return Promise.resolve({ totalBytes: 0, availableBytes: 0 });
      if (!hanging.includes(path)) return Promise.resolve(space);
      return new Promise((resolve) =>
        wake.set(path, () => {
          resolve(space);
        }),
      );
    },
  });
  const read = async (): Promise<string[]> => {
    const reading = disks.read();
    await vi.advanceTimersByTimeAsync(1_000);
    return (await reading).map(({ path }) => path);
  };
  return { disks, asked, wake, read };
}

describe("the space of disks", () => {
  test("is that of those which answer", async () => {
    vi.useFakeTimers();
    const { read } = someDisks(["/a", "/b"], { failing: ["/a"] });
    expect(await read()).toEqual(["/", "/b"]);
  });

  test("is not that of those which have none", async () => {
    vi.useFakeTimers();
    const { read } = someDisks(["/a", "/b"], { empty: ["/a"] });
    expect(await read()).toEqual(["/", "/b"]);
  });

  test("does not wait for one that hangs, nor ask it again before it has answered", async () => {
    vi.useFakeTimers();
    const { asked, wake, read } = someDisks(["/a", "/b"], { hanging: ["/a"] });
    expect(await read()).toEqual(["/", "/b"]);
    expect(await read()).toEqual(["/", "/b"]);
    expect(asked).toEqual(["/", "/a", "/b", "/", "/b"]);
    wake.get("/a")?.();
    const again = read();
    expect((await again).length).toBe(2);
    expect(asked.slice(5)).toEqual(["/", "/a", "/b"]);
  });

  test("asks no further when two hang: the agent's own files need the threads", async () => {
    vi.useFakeTimers();
    const { asked, read } = someDisks(["/a", "/b", "/c"], { hanging: ["/a", "/b"] });
    expect(await read()).toEqual(["/"]);
    expect(await read()).toEqual([]);
    expect(asked).toEqual(["/", "/a", "/b"]);
  });

  test("is read once for all who ask at the same time", async () => {
    const { disks, asked } = someDisks(["/a"], {});
    const answers = await Promise.all([disks.read(), disks.read(), disks.read()]);
    expect(answers.map((answer) => answer.length)).toEqual([2, 2, 2]);
    expect(asked).toEqual(["/", "/a"]);
  });
});
