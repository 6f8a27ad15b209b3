import { join } from 'node:path';
import type { Image } from '../image/image.ts';

/** What the firmware is given to start. */
export type Boot = Pick<Image, 'kernel' | 'initrd' | 'commandLine'>;

/** Ports of the host's loopback interface that a machine may reach, and no others. */
export interface HostPorts {
  readonly server: number;
  readonly registry: number;
}

/** Where a machine finds the host: the only address of its network at which anything answers. */
export const HOST_ADDRESS = '10.0.2.100';
/** A machine's own address (`lab/image/boot`). */
export const GUEST_ADDRESS = '10.0.2.15';

/**
 * Whether the host's KVM is used: only where it is said, as a KVM inside a virtual machine may be there and not work, and
 * machines then hang in the firmware.
 */
const KVM = process.env.KALLIO_LAB_KVM === '1';

export const FIRMWARE = '/usr/share/OVMF/OVMF_CODE_4M.fd';
/** The firmware's variables as they leave the factory. */
export const FIRMWARE_VARIABLES = '/usr/share/OVMF/OVMF_VARS_4M.fd';

/** Files of a machine, all in its folder. */
export function machineFiles(dir: string) {
  const file = (name: string) => join(dir, name);
  return {
    disk: file('root.qcow2'),
    varDisk: file('var.qcow2'),
    configuration: file('configuration.tar'),
    variables: file('variables.fd'),
    console: file('console.log'),
    channel: file('exec.sock'),
    tpmSocket: file('tpm.sock'),
    tpmState: file('tpm'),
  };
}

/**
 * QEMU's arguments: a q35 machine with OVMF, a TPM, the disks, and a network (QEMU's user mode, `restrict=on`) on which
 * nothing is reachable but the two ports of the host. Each connection is a process `nc` of its own.
 */
export function qemuArguments(
  dir: string,
  { image, boot, ports }: { readonly image: Image; readonly boot: Boot; readonly ports: HostPorts },
): string[] {
  const files = machineFiles(dir);
  const forward = (port: number) => `guestfwd=tcp:${HOST_ADDRESS}:${port}-cmd:busybox nc 127.0.0.1 ${port}`;
  const disk = (id: string, options: string) => [
    ...['-drive', `if=none,id=${id},${options}`],
    ...['-device', `virtio-blk-pci,drive=${id}`],
  ];
  return [
    ...['-nodefaults', '-no-user-config', '-display', 'none'],
    ...(KVM
      ? ['-machine', 'q35', '-accel', 'kvm', '-cpu', 'host']
      : // Page tables of five levels are only more to walk for an emulated processor.
        ['-machine', 'q35', '-accel', 'tcg,thread=multi', '-cpu', 'max,la57=off']),
    ...['-m', '1024', '-smp', '1'],
    ...['-drive', `if=pflash,unit=0,format=raw,readonly=on,file=${FIRMWARE}`],
    ...['-drive', `if=pflash,unit=1,format=raw,file=${files.variables}`],
    ...['-chardev', `socket,id=tpm,path=${files.tpmSocket}`],
    ...['-tpmdev', 'emulator,id=tpm0,chardev=tpm', '-device', 'tpm-tis,tpmdev=tpm0'],
    ...['-kernel', boot.kernel, '-initrd', boot.initrd, '-append', boot.commandLine],
    ...(image.flavour === 'plain'
      ? disk('root', `file=${files.disk},format=qcow2`)
      : disk('root', `file=${image.disk},format=raw,readonly=on`)),
    ...disk('configuration', `file=${files.configuration},format=raw,readonly=on`),
    ...(image.flavour === 'verity' ? disk('var', `file=${files.varDisk},format=qcow2`) : []),
    ...['-netdev', `user,id=net,restrict=on,${forward(ports.server)},${forward(ports.registry)}`],
    ...['-device', 'virtio-net-pci,netdev=net,romfile='],
    ...['-chardev', `file,id=console,path=${files.console},append=on`, '-serial', 'chardev:console'],
    ...['-serial', `unix:${files.channel},server=on,wait=off`],
  ];
}
