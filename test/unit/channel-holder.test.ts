import { expect, it } from "vitest";
import { clientOf, holderInWords, readSocketTable } from "../../shared/channel-holder.ts";

// As Linux 6.1 printed them: one connection served, two that wait, the listener.
const TABLE = `Num       RefCount Protocol Flags    Type St Inode Path
000000005b6954c8: 00000003 00000000 00000000 0001 03 15952 /run/a b.sock
000000002963f0fb: 00000003 00000000 00000000 0001 02     0 /run/a b.sock
00000000d93e0004: 00000002 00000000 00010000 0001 01 15951 /run/a b.sock
000000006025b78e: 00000003 00000000 00000000 0001 03 16407
`;

const SS = `u_str ESTAB 1      0          /run/a b.sock 15952 * 16407 users:(("qemu-system-x86",pid=6785,fd=4))
u_str ESTAB 0      768                      * 16045 * 0     users:(("waiting",pid=6911,fd=3))
u_str ESTAB 0      768                      * 16407 * 15952 users:(("socat",pid=6827,fd=3),("child",pid=6828,fd=3))
`;

it("reads the named sockets of the kernel's table", () => {
  expect(readSocketTable(TABLE)).toEqual([
    { state: "03", inode: "15952", path: "/run/a b.sock" },
    { state: "02", inode: "0", path: "/run/a b.sock" },
    { state: "01", inode: "15951", path: "/run/a b.sock" },
  ]);
});

it("finds the client at the other end of a connection", () => {
  expect(clientOf("15952", SS)).toEqual({ pid: 6827, command: "socat" });
});

it("a client that ss may not see stays unknown", () => {
  expect(clientOf("15952", SS.replaceAll(/ users:.*/g, ""))).toEqual({});
  expect(clientOf("15952", "")).toEqual({});
});

it("names the holder as far as it is known", () => {
  expect(holderInWords({ pid: 6827, command: "socat" })).toBe("socat (pid 6827)");
  expect(holderInWords({})).toBe("another client");
});
