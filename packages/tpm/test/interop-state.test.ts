import { createHash } from 'node:crypto';
import { sha256, toHex, utf8 } from '@kallio/codec';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  clear,
  contextLoad,
  contextSave,
  create,
  createPrimary,
  evictControl,
  flushContext,
  getCapability,
  getRandom,
  getTestResult,
  HANDLE,
  hierarchyChangeAuth,
  load,
  type NvPublic,
  nvDefineSpace,
  nvExtend,
  nvRead,
  nvReadPublic,
  nvUndefineSpace,
  nvWrite,
  pcrEvent,
  pcrExtend,
  readClock,
  readPcrs,
  readPublicArea,
  sealedTemplate,
  selfTest,
  shutdown,
  signingKeyTemplate,
  startSession,
  startup,
  storageTemplate,
  type Tpm,
  unseal,
} from '../src/index.ts';
import { NV_ATTRIBUTE as NV, nameOf } from '../src/structures/index.ts';
import { Swtpm } from './support/swtpm.ts';
import { contextFile, fromSizedFile, parseContextFile, sizedFile } from './support/tool-files.ts';

const DATA = utf8('both may read this');
const ROOT = 0x8100_0001;

let swtpm: Swtpm;
let tpm: Tpm;
beforeAll(async () => {
  swtpm = await Swtpm.start();
  tpm = swtpm.open();
});
afterAll(async () => {
  await tpm.close();
  await swtpm.remove();
});
// swtpm takes one client at a time: ours lets go before tools run, and connects again with its next command.
beforeEach(async () => {
  await tpm.close();
});

async function tools(run: () => void): Promise<void> {
  await tpm.close();
  run();
}

describe('a storage root that we keep at a handle', () => {
  it('is a parent to tpm2-tools, and theirs is one to us', async () => {
    const root = await createPrimary(tpm, HANDLE.owner, storageTemplate());
    await evictControl(tpm, root, ROOT);
    await flushContext(tpm, root);
    await tools(() => {
      swtpm.tool('tpm2_readpublic', '-c', '0x81000001', '-o', 'root.pub', '-n', 'root.name');
      swtpm.tool('tpm2_createprimary', '-C', 'o', '-G', 'ecc', '-c', 'p.ctx');
      swtpm.tool('tpm2_evictcontrol', '-C', 'o', '-c', 'p.ctx', '0x81000002');
    });
    expect(swtpm.read('root.name')).toEqual(root.name);
    expect(fromSizedFile(swtpm.read('root.pub'))).toEqual(root.public);
    const made = await create(tpm, 0x8100_0002, signingKeyTemplate());
    await flushContext(tpm, await load(tpm, 0x8100_0002, made));
    await evictControl(tpm, 0x8100_0002, 0x8100_0002);
  });

  it('takes objects from either side to the other: created there, loaded and unsealed here, and back', async () => {
    swtpm.write('data', DATA);
    swtpm.tool('tpm2_create', '-C', '0x81000001', '-i', 'data', '-p', 'word', '-u', 't.pub', '-r', 't.priv');
    const theirs = {
      public: fromSizedFile(swtpm.read('t.pub')),
      private: fromSizedFile(swtpm.read('t.priv')),
    };
    const sealed = await load(tpm, ROOT, theirs);
    expect(nameOf(sealed.public)).toEqual(sealed.name);
    expect((await readPublicArea(tpm, sealed)).name).toEqual(sealed.name);
    const word = { authorizations: [{ kind: 'password', password: utf8('word') }] } as const;
    expect(await unseal(tpm, sealed, word)).toEqual(DATA);
    await flushContext(tpm, sealed);

    const ours = await create(tpm, ROOT, sealedTemplate(), { userAuth: utf8('word'), data: DATA });
    swtpm.write('o.pub', sizedFile(ours.public));
    swtpm.write('o.priv', sizedFile(ours.private));
    await tools(() => {
      swtpm.tool('tpm2_load', '-C', '0x81000001', '-u', 'o.pub', '-r', 'o.priv', '-c', 'o.ctx');
      expect(swtpm.tool('tpm2_unseal', '-c', 'o.ctx', '-p', 'word')).toBe('both may read this');
    });
  });

  it('keeps contexts that either side loads', async () => {
    swtpm.tool('tpm2_create', '-C', '0x81000001', '-G', 'ecc', '-u', 'k.pub', '-r', 'k.priv');
    swtpm.tool('tpm2_load', '-C', '0x81000001', '-u', 'k.pub', '-r', 'k.priv', '-c', 'k.ctx', '-n', 'k.name');
    // Saved there, loaded here.
    const file = parseContextFile(swtpm.read('k.ctx'));
    const handle = await contextLoad(tpm, file.context);
    expect((await readPublicArea(tpm, handle)).name).toEqual(swtpm.read('k.name'));
    // Saved here, loaded there: what the tools' library remembers of the object is left as it was.
    const context = await contextSave(tpm, handle);
    await flushContext(tpm, handle);
    expect(context.sequence).toBeGreaterThan(file.context.sequence);
    swtpm.write('ours.ctx', contextFile({ ...file, context }));
    await tools(() => {
      swtpm.tool('tpm2_readpublic', '-c', 'ours.ctx', '-n', 'ours.name');
    });
    expect(swtpm.read('ours.name')).toEqual(swtpm.read('k.name'));
  });
});

describe('NV indices', () => {
  const attributes = NV.ownerWrite | NV.ownerRead | NV.authWrite | NV.authRead;
  const index: NvPublic = {
    index: 0x0150_0010,
    nameAlg: 'sha256',
    attributes,
    authPolicy: new Uint8Array(0),
    dataSize: DATA.length,
  };

  it('defined and written there are read here, written here, read there', async () => {
    swtpm.write('nv', DATA);
    const area = ['-C', 'o', '-s', String(DATA.length), '-a', 'ownerread|ownerwrite|authread|authwrite'];
    swtpm.tool('tpm2_nvdefine', '0x1500010', ...area);
    swtpm.tool('tpm2_nvwrite', '0x1500010', '-C', 'o', '-i', 'nv');
    const there = await nvReadPublic(tpm, 0x0150_0010);
    expect(there).toEqual({ ...index, attributes: attributes | NV.written });
    if (there === undefined) throw new Error('not defined');
    expect(await nvRead(tpm, there)).toEqual(DATA);
    const reversed = DATA.toReversed();
    await nvWrite(tpm, there, reversed);
    await tools(() => {
      swtpm.tool('tpm2_nvread', '0x1500010', '-C', 'o', '-o', 'back');
    });
    expect(swtpm.read('back')).toEqual(reversed);
    await nvUndefineSpace(tpm, there);
    await tools(() => expect(swtpm.tool('tpm2_nvreadpublic')).not.toContain('0x1500010'));
  });

  it('defined and extended here are extended and read there, and removed', async () => {
    const log = { ...index, index: 0x0150_0011, attributes: (attributes | NV.extend) >>> 0, dataSize: 32 };
    await nvDefineSpace(tpm, log);
    await nvExtend(tpm, log, utf8('one'));
    await tools(() => {
      swtpm.write('two', utf8('two'));
      swtpm.tool('tpm2_nvextend', '0x1500011', '-C', 'o', '-i', 'two');
      swtpm.tool('tpm2_nvread', '0x1500011', '-C', 'o', '-o', 'log');
      swtpm.tool('tpm2_nvundefine', '0x1500011', '-C', 'o');
    });
    expect(swtpm.read('log')).toEqual(sha256(sha256(new Uint8Array(32), utf8('one')), utf8('two')));
    expect(await nvReadPublic(tpm, 0x0150_0011)).toBeUndefined();
  });
});

describe('PCRs', () => {
  it('hold the same values, whoever extends and reads them', async () => {
    const digest = sha256(DATA);
    swtpm.tool('tpm2_pcrextend', `16:sha256=${toHex(digest)}`);
    await pcrExtend(tpm, 16, [['sha256', digest]]);
    const ours = await pcrEvent(tpm, 16, DATA);
    const value = (await readPcrs(tpm, 'sha256', [16])).get(16) ?? new Uint8Array(0);
    expect(value).toEqual(sha256(sha256(sha256(new Uint8Array(32), digest), digest), digest));
    await tools(() => {
      expect(swtpm.tool('tpm2_pcrread', 'sha256:16').toLowerCase()).toContain(toHex(value));
      swtpm.write('event', DATA);
      const printed = swtpm.tool('tpm2_pcrevent', '16', 'event');
      expect(printed).toContain(toHex(ours.get('sha256') ?? digest));
      expect(printed).toContain(createHash('sha384').update(DATA).digest('hex'));
    });
  });
});

describe('handles', () => {
  it('of objects and sessions that we flush are gone there too', async () => {
    const listed = (what: string) => swtpm.tool('tpm2_getcap', what).trim();
    const key = await createPrimary(tpm, HANDLE.owner, storageTemplate());
    const session = await startSession(tpm);
    await tools(() => {
      expect(listed('handles-transient')).toBe(`- 0x${key.handle.toString(16)}`);
      expect(listed('handles-loaded-session')).toBe(`- 0x${session.handle.toString(16).toUpperCase()}`);
    });
    const again = await createPrimary(tpm, HANDLE.owner, storageTemplate());
    await flushContext(tpm, again);
    await flushContext(tpm, session);
    await tools(() => {
      expect(listed('handles-transient')).toBe('');
      expect(listed('handles-loaded-session')).toBe('');
    });
  });
});

describe('the TPM', () => {
  it('is shut down and started by us, in order, and then serves tpm2-tools', async () => {
    const before = await readClock(tpm);
    await shutdown(tpm, 'clear');
    await tpm.close();
    await swtpm.powerOff();
    await swtpm.powerOn(false);
    expect(() => swtpm.tool('tpm2_getrandom', '8')).toThrow(/not initialized/);
    await startup(tpm, 'clear');
    await selfTest(tpm, true);
    expect(await getRandom(tpm, 8)).toHaveLength(8);
    await tools(() => {
      expect(swtpm.tool('tpm2_getrandom', '--hex', '8')).toHaveLength(16);
      expect(swtpm.tool('tpm2_selftest', '-f')).toBe('');
      const clock = swtpm.tool('tpm2_readclock');
      expect(clock).toContain(`reset_count: ${before.resetCount + 1}`);
      expect(clock).toContain('safe: yes');
    });
  });

  it('tells both the same of itself', async () => {
    const properties = (await getCapability(tpm, 'properties', 0x100, 64)).values;
    const commands = (await getCapability(tpm, 'commands')).values;
    const curves = (await getCapability(tpm, 'curves')).values;
    const { resetCount } = await readClock(tpm);
    expect((await getTestResult(tpm)).result.code).toBe(0);
    await tools(() => {
      const fixed = swtpm.tool('tpm2_getcap', 'properties-fixed');
      // TPM_PT_MANUFACTURER.
      expect(fixed).toContain((properties.get(0x105) ?? 0).toString(16).toUpperCase());
      expect(swtpm.tool('tpm2_getcap', 'commands').match(/commandIndex:/g)).toHaveLength(commands.length);
      expect(swtpm.tool('tpm2_getcap', 'ecc-curves').match(/^TPM2_ECC_/gm)).toHaveLength(curves.length);
      expect(swtpm.tool('tpm2_readclock')).toContain(`reset_count: ${resetCount}`);
      expect(swtpm.tool('tpm2_gettestresult')).toMatch(/success/);
    });
  });

  it('takes an owner’s authorization from one and wants it of the other, until it is cleared', async () => {
    swtpm.tool('tpm2_changeauth', '-c', 'o', 'theirs');
    const word = { authorizations: [{ kind: 'password', password: utf8('theirs') }] } as const;
    await hierarchyChangeAuth(tpm, HANDLE.owner, utf8('ours'), word);
    await tools(() => {
      swtpm.tool('tpm2_createprimary', '-C', 'o', '-P', 'ours', '-c', 'p.ctx');
    });
    await clear(tpm);
    await tools(() => {
      swtpm.tool('tpm2_createprimary', '-C', 'o', '-c', 'p.ctx');
      expect(swtpm.tool('tpm2_getcap', 'handles-persistent')).toBe('');
    });
  });
});
