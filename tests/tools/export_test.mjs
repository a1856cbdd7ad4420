// SPDX-License-Identifier: GPL-2.0-or-later
// What `xenoprof export` writes, opened by the tools that it is for. The profile is made by another
// program's pprof library, too.
//   XENOPROF=program TOOLS=folder-with-node_modules node --test export_test.mjs
import assert from 'node:assert/strict';
import {execFileSync} from 'node:child_process';
import fs from 'node:fs';
import {createRequire} from 'node:module';
import os from 'node:os';
import path from 'node:path';
import {after, before, test} from 'node:test';
import zlib from 'node:zlib';

const xenoprof = process.env.XENOPROF;
const tools = process.env.TOOLS;
const pprof = createRequire(path.join(tools, 'x.js'))('pprof-format');

const places = {
  main: {image: '/opt/compute', address: 0x1000},
  multiply: {image: '/opt/compute', address: 0x2000},
  tcp_sendmsg: {image: '[kernel]', address: 0xffffffff81000000n},
  gnttab_copy: {image: '[xen]', address: 0xffff82d040200000n},
};
// Outermost first; samples of cycles, of misses.
const samples = [
  {domain: 'dom0', process: 'iperf3', mode: 'user', stack: ['main'], value: [30, 1]},
  {domain: 'dom0', process: 'iperf3', mode: 'kernel', stack: ['main', 'tcp_sendmsg'], value: [200, 4]},
  {domain: 'guest1', process: 'compute', mode: 'user', stack: ['main', 'multiply'], value: [500, 0]},
  {domain: 'guest1', process: 'compute', mode: 'hypervisor', stack: ['main', 'tcp_sendmsg', 'gnttab_copy'], value: [70, 90]},
];
const total = event => samples.reduce((sum, sample) => sum + sample.value[event], 0);

let folder;
let source;

before(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'xenoprof-tools-'));
  source = path.join(folder, 'source.pb.gz');
  const strings = new pprof.StringTable();
  const text = string => strings.dedup(string);
  const images = [...new Set(Object.values(places).map(place => place.image))];
  const names = Object.keys(places);
  const profile = new pprof.Profile({
    stringTable: strings,
    sampleType: ['cycles', 'misses'].map(name => ({type: text(name), unit: text('samples')})),
    mapping: images.map((image, i) => ({id: i + 1, filename: text(image), hasFunctions: true})),
    function: names.map((name, i) => ({id: i + 1, name: text(name), systemName: text(name)})),
    location: names.map((name, i) => ({
      id: i + 1,
      mappingId: images.indexOf(places[name].image) + 1,
      address: places[name].address,
      line: [{functionId: i + 1}],
    })),
    sample: samples.map(sample => ({
      locationId: sample.stack.map(name => names.indexOf(name) + 1).reverse(),
      value: sample.value,
      label: [
        ...['domain', 'process', 'mode'].map(key => ({key: text(key), str: text(sample[key])})),
        ...['pid', 'tid'].map(key => ({key: text(key), num: 100})),
      ],
    })),
  });
  fs.writeFileSync(source, zlib.gzipSync(profile.encode()));
});

after(() => fs.rmSync(folder, {recursive: true}));

function exported(format) {
  const file = path.join(folder, `exported.${format}`);
  execFileSync(xenoprof, ['export', '--format', format, '-o', file, source]);
  return file;
}

test('pprof: another reader finds every sample', () => {
  const profile = pprof.Profile.decode(zlib.gunzipSync(fs.readFileSync(exported('pprof'))));
  const text = index => profile.stringTable.strings[Number(index)];
  assert.deepEqual(profile.sampleType.map(type => text(type.type)), ['cycles', 'misses']);
  assert.equal(profile.sample.length, samples.length);
  const names = new Map(profile.function.map(one => [one.id, text(one.name)]));
  const locations = new Map(
      profile.location.map(one => [one.id, names.get(one.line[0].functionId)]));
  for (const sample of profile.sample) {
    const stack = sample.locationId.map(id => locations.get(id)).reverse();
    const labels = Object.fromEntries(sample.label.map(one => [text(one.key), text(one.str)]));
    const expected = samples.find(
        one => one.domain === labels.domain && one.mode === labels.mode);
    assert.deepEqual(stack, expected.stack);
    assert.deepEqual(sample.value.map(Number), expected.value);
  }
});

test('perf report reads perf.data: domains, processes, functions of kernels and Xen', () => {
  const file = exported('perf');
  const report = execFileSync('perf', ['report', '-i', file, '--stdio', '--no-children', '-g',
    'none', '-n', '-s', 'comm,sym'], {encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore']});
  assert.match(report, /Samples: 800 +of event 'cycles'/);
  assert.match(report, /^ *25\.00% +200 +dom0\/iperf3 +\[k\] tcp_sendmsg/m);
  assert.match(report, /^ *8\.75% +70 +guest1\/compute +\[k\] gnttab_copy/m);
  assert.match(report, /^ *62\.50% +500 +guest1\/compute +\[\.\]/m);
  const script = execFileSync('perf', ['script', '-i', file, '-F', 'event', '-G'],
      {encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore']});
  assert.equal(script.match(/cycles/g).length, total(0));
  assert.equal(script.match(/misses/g).length, total(1));
  const callers = execFileSync('perf', ['report', '-i', file, '--stdio', '--children', '-g',
    'none', '-s', 'sym'], {encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore']});
  // 200 of its own in dom0, and 70 of guest1 that went on into Xen.
  assert.match(callers, /^ *33\.75% +25\.00% +\[k\] tcp_sendmsg/m);
});

test('folded: a script adds the lines up', () => {
  const lines = fs.readFileSync(exported('folded'), 'utf8').trimEnd().split('\n');
  assert.equal(lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0), total(0));
  assert.ok(lines.includes('guest1;compute;main;tcp_sendmsg;gnttab_copy 70'));
});

test('speedscope opens it', () => {
  // As speedscope's own command hands a file to its page.
  const file = exported('speedscope');
  const loader = path.join(folder, 'load.js');
  fs.writeFileSync(loader, `speedscope.loadFileFromBase64("profile.json", ` +
      `"${fs.readFileSync(file).toString('base64')}")`);
  const page = path.join(tools, 'node_modules/speedscope/dist/release/index.html');
  const dom = execFileSync('chromium', ['--headless', '--no-sandbox', '--use-gl=swiftshader',
    '--enable-unsafe-swiftshader', '--disable-quic', '--no-first-run',
    `--user-data-dir=${path.join(folder, 'chromium')}`, '--virtual-time-budget=10000', '--dump-dom',
    `file://${page}#localProfilePath=${loader}`],
  {encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], timeout: 120000});
  assert.match(dom, /<title>[^<]*source\.pb\.gz[^<]*speedscope<\/title>/);
  assert.match(dom, /cycles/);
});

// Its importer is not to be had as a package: the rules of its types, which the tables must keep.
test('Firefox Profiler: the tables refer to each other', () => {
  const profile = JSON.parse(fs.readFileSync(exported('firefox'), 'utf8'));
  assert.equal(profile.meta.preprocessedProfileVersion, 60);
  const {stackTable, frameTable, funcTable, resourceTable, stringArray} = profile.shared;
  for (const table of [stackTable, frameTable, funcTable, resourceTable]) {
    for (const column of Object.values(table).filter(Array.isArray)) {
      assert.equal(column.length, table.length);
    }
  }
  const within = (column, length) =>
    column.forEach(index => assert.ok(Number.isInteger(index) && index >= 0 && index < length));
  within(stackTable.frame, frameTable.length);
  within(frameTable.func, funcTable.length);
  within(frameTable.category, profile.meta.categories.length);
  within(funcTable.name, stringArray.length);
  within(funcTable.resource, resourceTable.length);
  within(resourceTable.name, stringArray.length);
  stackTable.prefix.forEach((prefix, i) => assert.ok(prefix === null || prefix < i));
  assert.ok(profile.meta.categories.some(category => category.color === 'grey'));
  for (const thread of profile.threads) {
    within(thread.samples.stack, stackTable.length);
    assert.equal(typeof thread.pid, 'string');
  }
  assert.equal(profile.threads.flatMap(thread => thread.samples.weight)
      .reduce((sum, weight) => sum + weight, 0), total(0));
});
