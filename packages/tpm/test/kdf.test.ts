import { fromHex, utf8 } from '@kallio/codec';
import { describe, expect, it } from 'vitest';
import { type HashName, kdfa, kdfe } from '../src/structures/index.ts';

describe('KDFa', () => {
  // The self-test of the TPM 2.0 reference implementation (ms-tpm-20-ref, TPMCmd/tpm/include/KdfTestData.h).
  const key = fromHex('271fa08bbdc5060ec3dfa928ff9b73123a12da0c');
  const u = fromHex('ce244f395dca7391');
  const v = fromHex('da504031ddf12e83');
  const reference: readonly (readonly [HashName, string])[] = [
    ['sha1', '55b5a7184aa07423c47dae766c26a2377d7cf851'],
    ['sha256', 'bb0259e1c8ba607e6a2cd704b69a902e9ade84c4'],
    ['sha384', '1dce70c9113eb2dba47bd9cfc72bf46f45b09312'],
    ['sha512', '8be2c1b85b78569b9fa759f5857c56d684810fd3'],
  ];
  for (const [hash, expected] of reference) {
    it(`gives the reference implementation’s value with ${hash}`, () => {
      expect(kdfa(hash, key, 'KDFSELFTESTLABEL', u, v, 160)).toEqual(fromHex(expected));
    });
  }

  // google/go-tpm, legacy/tpm2/test/kdf_test.go.
  it('gives go-tpm’s values: one block, and more than one', () => {
    const none = new Uint8Array(0);
    expect(kdfa('sha256', utf8('yolo\0'), 'IDENTITY', utf8('kek\0'), utf8('yoyo\0'), 128)).toEqual(
      fromHex('d2d72cc7a8a5eb09e8c79012e2da9f22'),
    );
    expect(kdfa('sha1', utf8('ca\0'), 'IDENTITY', utf8('abc\0'), none, 256)).toEqual(
      fromHex('83f354afcf923de2112e0891434cd0bdc8acbf01b811c0e8cd062ded39e31f7f'),
    );
  });

  it('clears the bits over a length that is not of whole bytes', () => {
    expect(kdfa('sha1', key, 'KDFSELFTESTLABEL', u, v, 521)).toEqual(
      fromHex(
        '01714e865072c1e4c40b3670281112632fc9ecba25e66af68d18a2b62de9cbb44521da2bc9a496862eb3f306949f9efe8a9e1ccbce3b4d668ffd75c9394ba59458fe',
      ),
    );
  });
});

describe('KDFe', () => {
  // google/go-tpm, legacy/tpm2/test/kdf_test.go, taken there from the Microsoft simulator.
  const vectors = [
    {
      curve: 'P-256',
      z: '69fd74d052a5cd9d6addf4ea791f4737eb297246dce604f6385c1392e0fb56b9',
      u: 'c29f8cff1ce054ed5945abd393ee2eed3f67437d9db07b932156c65d32921373',
      v: '107937dc44e5bb5094d3d30a55efac77b6db3253ba42dabc804446b93864e055',
      expected: 'b15267e3f960f8f8f3b94ff3fc64119f6876974f984f82d50bd54abc7a6406e8',
    },
    {
      curve: 'P-384',
      z: 'bb3a3f26d6810bff2967634995fd579f806fa68f0d9db5bd62d10c305ceaa9da8eec673ee08951bc63ae9c6fb5fe98b1',
      u: '20f0f40cf185ca07a45699f74a0719c621843e9d071e4f6be8c37abda838ee1a2a09824d226b36a7ae5018aa0997d617',
      v: 'cb677d1274259f552aa45260d96546c53fe1a04af78a0c0cbbb4f43b327163c50d7608bc2cf64c1f2cbe799aaa9fbe6d',
      expected: '9454b72eb50f0b2566246976a7445da1a1ebfa82c914c465ac754e941de0faaa',
    },
    {
      curve: 'P-521',
      z: '01af5f2a958dee7f6617a5522caa91e47221e2f2f6390bec395dc6f0348648c973f19968e48f1d8943c7f5cd6a9288e9783b733ad2443bab63ef285d2610217a08eb',
      u: '0fcbe5e4caf1e11f46feeb7262d4b4276c06509c96c743db238e48a090f1243f6d33beff0940f0a6fbcc616372923a3ade83e5a8a66c37b55300042f10cb390213',
      v: '00eed76b365cbaebddf55ad2a0b6cb95b285ced264e23905747b8d041aa968bd66ec693dd9f87fd4ad433a23e8cca64da1650dacf0847a4d4a8af42e73b23785678b',
      expected: 'bc345710a204540fc59ae85e23071d00fefb280ce6a1d0bb52739f8cf905da30',
    },
  ];
  for (const { curve, z, u, v, expected } of vectors) {
    it(`gives the simulator’s value for ${curve}`, () => {
      expect(kdfe('sha256', fromHex(z), 'DUPLICATE', fromHex(u), fromHex(v), 256)).toEqual(fromHex(expected));
    });
  }
});
