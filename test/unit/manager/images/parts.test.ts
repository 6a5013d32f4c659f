import { describe, expect, test } from "vitest";
import { bytesInWords } from "../../../../manager/images/bytes-in-words.ts";
import { configuredDisks, chooseDisk } from "../../../../manager/images/disk.ts";
import { safeFileName } from "../../../../manager/images/image-file.ts";
import { libvirtDisks, readDisks } from "../../../../manager/images/libvirt-disks.ts";

const web1 = { id: "172dd6f8-7d36-44ef-9a03-3b342034aaa4", name: "web1" };

function domain(...disks: string[]): string {
  return `<domain type='qemu'><name>web1</name><devices>${disks.join("")}</devices></domain>`;
}

describe("the disks of a libvirt domain", () => {
  test("are those in files and on block devices, each in the format that libvirt names", () => {
    const xml = domain(
      `<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/d/a&amp;b.qcow2'/><target dev='vda' bus='virtio'/></disk>`,
      `<disk type='block'><driver name='qemu' type='raw' cache='none'/><source dev='/dev/vg/web1'/><target dev='vdb'/></disk>`,
    );
    expect(readDisks(xml)).toEqual([
      { name: "vda", path: "/d/a&b.qcow2", format: "qcow2" },
      { name: "vdb", path: "/dev/vg/web1", format: "raw" },
    ]);
  });

  test("are raw when no format is named, as libvirt itself has it, and never looked at to find out", () => {
    const xml = domain(`<disk type='file'><source file='/d/web1.qcow2'/><target dev='vda'/></disk>`);
    expect(readDisks(xml)).toEqual([{ name: "vda", path: "/d/web1.qcow2", format: "raw" }]);
  });

  test.each([
    ["a CD", `<disk type='file' device='cdrom'><source file='/d/x.iso'/><target dev='sda'/></disk>`],
    ["an empty drive", `<disk type='file' device='floppy'><target dev='fda'/></disk>`],
    ["a disk of a network", `<disk type='network'><source protocol='rbd' name='p/i'/><target dev='vda'/></disk>`],
    ["a relative path", `<disk type='file'><source file='nbd:evil:1'/><target dev='vda'/></disk>`],
    ["what is no format", `<disk type='file'><driver type='--x'/><source file='/d'/><target dev='vda'/></disk>`],
    ["a disk without a source", `<disk type='file'><source/><target dev='vda'/></disk>`],
    [
      "an encrypted one",
      `<disk type='file'><driver type='qcow2'/><source file='/d'><encryption format='luks'/></source><target dev='vda'/></disk>`,
    ],
  ])("do not include %s", (_, disk) => {
    expect(readDisks(domain(disk))).toEqual([]);
  });

  test("are none of what is no domain", () => {
    expect(readDisks("<network/>")).toEqual([]);
    expect(readDisks(domain())).toEqual([]);
  });

  test.each([
    ["libvirt qemu+ssh://host2/system", "are on another machine"],
    ["qmp /run/qmp", "is known from qmp /run/qmp, which is not trusted with where its disks are"],
    ["none", "is in no inventory any more"],
  ])("cannot be told of one of %s", async (inventory, reason) => {
    await expect(libvirtDisks(web1, inventory)).rejects.toThrow(reason);
  });
});

test("disks that the configuration names are found by the VM's name and by its UUID in either case", () => {
  const disks = [{ name: "vda", path: "/d/vda", format: "raw" }];
  expect(configuredDisks({ [web1.name]: disks }, web1)).toBe(disks);
  expect(configuredDisks({ [web1.id.toUpperCase()]: disks }, web1)).toBe(disks);
  expect(configuredDisks({ constructor: disks }, web1)).toBeUndefined();
  expect(configuredDisks({}, { id: web1.id, name: "constructor" })).toBeUndefined();
});

test("the disk is the first unless another is named, and one that is not there is an error with those that are", () => {
  const disks = ["vda", "vdb"].map((name) => ({ name, path: `/d/${name}`, format: "raw" }));
  expect(chooseDisk(disks, undefined, web1).name).toBe("vda");
  expect(chooseDisk(disks, "vdb", web1).name).toBe("vdb");
  expect(() => chooseDisk(disks, "sda", web1)).toThrow("the VM 'web1' has the disks vda, vdb, and no 'sda'");
  expect(() => chooseDisk([], undefined, web1)).toThrow("has no disk in a file or on a block device");
});

test.each([
  ["web1.example-2_x", "web1.example-2_x"],
  ["../../etc/passwd", "_.._etc_passwd"],
  ["..", "vm"],
  ["-rf", "rf"],
  ["a\r\nb\0", "a_b_"],
  ["", "vm"],
  ["日本", "_"],
  ["x".repeat(300), "x".repeat(128)],
])("a VM called %j has images called %s", (name, file) => {
  expect(safeFileName(name)).toBe(file);
});

test.each([
  [0, "0 bytes"],
  [1023, "1023 bytes"],
  [1024, "1.0 KiB"],
  [1.5 * 1024 ** 3, "1.5 GiB"],
  [5000 * 1024 ** 4, "5000.0 TiB"],
])("%d bytes are %s", (bytes, words) => {
  expect(bytesInWords(bytes)).toBe(words);
});
