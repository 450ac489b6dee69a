// What tests and tools of other workspaces use: real servers, topics, and the Python environment.
export { type Airflow, type AirflowService, type DagRun, startAirflow } from './airflow.ts';
export { readArguments, readWholeNumber, takeNoArguments } from './arguments.ts';
export { buildDefaultModel } from './default-model.ts';
export { projectFolder, toolsFolder } from './folders.ts';
export { launchHttp } from './http.ts';
export { ensurePackages } from './install.ts';
export { type Kafka, startKafka } from './kafka.ts';
export { openMarkedPart } from './marks.ts';
export { type Mlflow, startMlflow } from './mlflow.ts';
export {
  startAlertmanager,
  startBlackboxExporter,
  startNodeExporter,
  startPostgresExporter,
  startPrometheus,
  type Targets,
  type Watcher,
} from './monitoring.ts';
export { freePort } from './port.ts';
export { type Postgres, startPostgres } from './postgres.ts';
export { processorSeconds } from './process-tree.ts';
export { ensurePython, ensureUv, installLocked, pythonProgram, runPython } from './python.ts';
export { type ScorerProcess, startScorer } from './scorer.ts';
export { Server } from './server.ts';
export { median, quantile, spread } from './statistics.ts';
export { createTopics, projectTopics, type Topic, type TopicRange, topicRanges } from './topics.ts';
