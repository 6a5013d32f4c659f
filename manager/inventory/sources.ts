/** Which inventories a configuration names. */
import type { Config } from "../config.ts";
import { LibvirtSource } from "./libvirt.ts";
import { QmpDirectorySource } from "./qmp-directory.ts";
import type { InventorySource } from "./source.ts";
import { StaticFileSource } from "./static-file.ts";

export type SourceSpec =
  { type: "libvirt"; uri: string } | { type: "qmp"; directory: string } | { type: "file"; path: string };

/** A host without a configuration is a libvirt host: root's VMs are the system's, a user's are their own. */
export function sourceSpecs({ inventory }: Config, uid: number): SourceSpec[] {
  if (inventory === undefined) return [{ type: "libvirt", uri: uid === 0 ? "qemu:///system" : "qemu:///session" }];
  return [
    ...inventory.libvirt.map((uri): SourceSpec => ({ type: "libvirt", uri })),
    ...inventory.qmp.map((directory): SourceSpec => ({ type: "qmp", directory })),
    ...inventory.files.map((path): SourceSpec => ({ type: "file", path })),
  ];
}

/** @param host this machine's name */
export function openSource(spec: SourceSpec, host: string): InventorySource {
  switch (spec.type) {
    case "libvirt":
      return new LibvirtSource({ uri: spec.uri, host });
    case "qmp":
      return new QmpDirectorySource({ directory: spec.directory, host });
    case "file":
      return new StaticFileSource({ path: spec.path, host });
  }
}
