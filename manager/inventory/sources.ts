/** Which inventories a configuration names. */
import type { Config } from "../config.ts";
import { LibvirtSource } from "./libvirt.ts";
import type { LibvirtEvent } from "./libvirt-events.ts";
import type { QmpEvent } from "./qmp.ts";
import { QmpDirectorySource } from "./qmp-directory.ts";
import type { Identity } from "./qmp-vm.ts";
import type { InventorySource } from "./source.ts";
import { type NotifyWish, StaticFileSource } from "./static-file.ts";

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

/** What sources say beside which VMs there are, each with the source's name. */
export interface SourceListener {
  /** The id is undefined while the domain's name is new. */
  libvirtEvent(sourceName: string, event: LibvirtEvent, vmId: string | undefined): void;
  /** The VM is undefined until it has said who it is. */
  qmpEvent(sourceName: string, event: QmpEvent, vm: Identity | undefined): void;
  /** All that a file wishes, each time that it was read. */
  notify(sourceName: string, wishes: readonly NotifyWish[]): void;
}

/** @param host this machine's name */
export function openSource(spec: SourceSpec, host: string, listener?: SourceListener): InventorySource {
  switch (spec.type) {
    case "libvirt": {
      const source = new LibvirtSource({
        uri: spec.uri,
        host,
        onEvent: (event, vmId) => listener?.libvirtEvent(source.name, event, vmId),
      });
      return source;
    }
    case "qmp": {
      const source = new QmpDirectorySource({
        directory: spec.directory,
        host,
        onEvent: (event, vm) => listener?.qmpEvent(source.name, event, vm),
      });
      return source;
    }
    case "file": {
      const source = new StaticFileSource({
        path: spec.path,
        host,
        onNotify: (wishes) => listener?.notify(source.name, wishes),
      });
      return source;
    }
  }
}
