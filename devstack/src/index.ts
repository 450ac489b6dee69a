// What tests and tools of other workspaces use: real servers, topics, and the Python environment.
export { toolsFolder } from './folders.ts';
export { type Kafka, startKafka } from './kafka.ts';
export { replaceBetweenMarks } from './marks.ts';
export { type Postgres, startPostgres } from './postgres.ts';
export { ensurePython, installLocked, pythonProgram, runPython } from './python.ts';
export { createTopics, type Topic, type TopicRange, topicRanges } from './topics.ts';
